"""Whatever Suture tells a person to type exists: every `suture VERB --option` in its messages, texts and documents, and
every bare option."""

from __future__ import annotations

import argparse
import ast
import re
import shlex
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import pytest

from suture.cli.main import VERBS, build_parser

ROOT = Path(__file__).parents[2]
SOURCES = sorted((ROOT / "src/suture").rglob("*.py"))
PAGES = sorted([*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md")])
OPTION = re.compile(r"(?<![\w,=./'\"-])--([a-z][a-z-]*)")
COMMAND = re.compile(r"(?<![\w/.-])suture ([a-z]+)\b((?: (?!&&|\|)[^\s`;|]+)*)")
# programs whose options our messages may name
FOREIGN = re.compile(
    r"(?:llvm-strip|prlimit|journalctl|diff|sysctl|systemctl|apt-get|apt-cache|apt|dpkg-query|cmake|make|gcc|gpg|git|"
    r"rpm|mount|unshare|gdb|ld|insmod|modprobe|update-\w+|setpriv|useradd|chroot|chmod|chown)\b[^.;:]*$"
)


@cache
def parser_of(verb: str) -> argparse.ArgumentParser:
    parser, _ = build_parser(verb)
    (verbs,) = (a for a in parser._actions if isinstance(a, argparse._SubParsersAction))
    found: argparse.ArgumentParser = verbs.choices[verb]
    return found


@cache
def options_of(verb: str) -> frozenset[str]:
    """Of a verb and of all its actions."""
    parsers = [parser_of(verb)]
    for action in parsers[0]._actions:
        if isinstance(action, argparse._SubParsersAction):
            parsers += action.choices.values()
    return frozenset().union(*(p._option_string_actions for p in parsers))


@cache
def actions_of(verb: str) -> dict[str, argparse.ArgumentParser]:
    """Of a verb that has some, and theirs by two words."""
    found: dict[str, argparse.ArgumentParser] = {}
    for action in parser_of(verb)._actions:
        if isinstance(action, argparse._SubParsersAction):
            for name, parser in action.choices.items():
                found[name] = parser
                for inner in parser._actions:
                    if isinstance(inner, argparse._SubParsersAction):
                        found |= {f"{name} {word}": p for word, p in inner.choices.items()}
    return found


@cache
def all_options() -> frozenset[str]:
    return frozenset().union(*(options_of(v.name) for v in VERBS), {"--version"})


def texts(path: Path) -> Iterator[tuple[int, str]]:
    """Every string of a source file, with its line; what an f-string fills in is X."""
    tree = ast.parse(path.read_text())
    inside = {id(v) for node in ast.walk(tree) if isinstance(node, ast.JoinedStr) for v in node.values}
    for node in ast.walk(tree):
        if isinstance(node, ast.JoinedStr):
            yield node.lineno, "".join(str(v.value) if isinstance(v, ast.Constant) else "X" for v in node.values)
        elif isinstance(node, ast.Constant) and isinstance(node.value, str) and id(node) not in inside:
            yield node.lineno, node.value


def wrong_commands(text: str) -> Iterator[str]:
    for match in COMMAND.finditer(text):
        verb, rest = match[1], re.split(r" -- |[),;]", match[2])[0]
        if not rest.strip() and not any(v.name == verb for v in VERBS):
            continue  # a sentence that begins "suture closes", or the like
        words = [w.split("=")[0].rstrip(",.)") for w in rest.split()]
        named = [w for w in words if w.startswith("--") and w != "--"]
        if not any(v.name == verb for v in VERBS):
            yield from [f"suture {verb}"] if named else []
            continue
        yield from (f"suture {verb} {w}" for w in named if w not in options_of(verb))


def wrong_actions(text: str) -> Iterator[str]:
    """Commands of verbs with actions that name none, or options that belong to another one. Only what stands as a
    command: behind a colon or a backquote, or at the begin of a line."""
    for match in COMMAND.finditer(text):
        verb, words = match[1], [w.rstrip(",.):") for w in match[2].split()]
        before = text[: match.start()]
        is_command = re.search(r"(?:^|[:`\n(] *|run |with )$", before) is not None
        if not any(v.name == verb for v in VERBS) or not actions_of(verb) or not is_command:
            continue
        if not words or words[0].startswith(("-", "X", "{", "<", "[")) or not words[0].islower():
            continue
        parser = actions_of(verb).get(" ".join(words[:2])) or actions_of(verb).get(words[0])
        if parser is None:
            yield f"suture {verb} {words[0]}"
            continue
        known = {o for p in (parser, *_inner(parser)) for o in p._option_string_actions} | {"--json", "--debug"}
        named = [w.split("=")[0] for w in words if re.match(r"--[a-z]", w)]
        yield from (f"suture {verb} {words[0]} {w}" for w in named if w not in known)


def _inner(parser: argparse.ArgumentParser) -> Iterator[argparse.ArgumentParser]:
    for action in parser._actions:
        if isinstance(action, argparse._SubParsersAction):
            yield from action.choices.values()


def test_every_command_in_the_sources_has_options_that_exist() -> None:
    wrong = [f"{p.relative_to(ROOT)}:{n}: {w}" for p in SOURCES for n, text in texts(p) for w in wrong_commands(text)]
    assert wrong == []


def test_every_command_in_the_sources_has_an_action_that_exists_with_options_of_its_own() -> None:
    wrong = [f"{p.relative_to(ROOT)}:{n}: {w}" for p in SOURCES for n, text in texts(p) for w in wrong_actions(text)]
    assert wrong == []


@pytest.mark.parametrize("page", PAGES, ids=lambda p: p.name)
def test_every_command_in_the_documents_has_an_action_that_exists(page: Path) -> None:
    assert [w for w in wrong_actions(page.read_text().replace("\\\n", " "))] == []


def test_every_bare_option_in_a_message_exists() -> None:
    """A message is a string of several words that is no command line of another program."""
    wrong = []
    for path in SOURCES:
        for line, text in texts(path):
            if not re.search(r"[a-z] [a-z]", text) or "\n" in text or re.match(r"\s*[\w./{]*(?:-|X?/)\S* ", text):
                continue
            for match in OPTION.finditer(text):
                if f"--{match[1]}" not in all_options() and not FOREIGN.search(text[: match.start()]):
                    wrong.append(f"{path.relative_to(ROOT)}:{line}: --{match[1]} in {text!r}")
    assert wrong == []


@pytest.mark.parametrize("page", PAGES, ids=lambda p: p.name)
def test_every_command_in_the_documents_has_options_that_exist(page: Path) -> None:
    assert [w for w in wrong_commands(page.read_text().replace("\\\n", " "))] == []


@pytest.mark.parametrize("verb", [v.name for v in VERBS])
def test_every_example_of_a_verb_is_a_command_line_that_it_takes(verb: str) -> None:
    _, module = build_parser(verb)
    assert module is not None
    actions = getattr(module, "ACTIONS", {}).values()
    for line in (*module.EXAMPLES, *(example for action in actions for example in action.EXAMPLES)):
        for command in line.split("&&"):
            words = shlex.split(re.split(r"[|>]", re.sub(r"\$\([^)]*\)", "X", command))[0], comments=True)
            words = words[1:] if words[:1] == ["sudo"] else words
            if words[:1] == ["suture"]:
                build_parser(words[1])[0].parse_args(words[1:])


def test_a_wrong_option_would_be_found() -> None:
    assert list(wrong_commands("run `suture make --keep` and `suture apply --timeout 3 P`")) == ["suture make --keep"]
    assert list(wrong_commands("suture nothing --x")) == ["suture nothing"]
    assert list(wrong_commands("suture record -- make --always-make")) == []


def test_a_wrong_action_would_be_found() -> None:
    assert list(wrong_actions("look at it: suture feed look --list")) == ["suture feed look"]
    assert list(wrong_actions("look at it: suture feed publish --list")) == ["suture feed publish --list"]
    assert list(wrong_actions("it comes with: suture feed publish")) == []
    assert list(wrong_actions("all that suture feed hands out is signed")) == []
