"""The command line as data, against the parsers that --help is printed from."""

from __future__ import annotations

from functools import cache

import pytest

from suture.cli.command_line import Command, Value, commands, common_options
from suture.cli.main import VERBS, build_parser


@cache
def by_words() -> dict[tuple[str, ...], Command]:
    return {c.words: c for verb in commands() for c in verb.below()}


def test_every_verb_and_every_action_is_there() -> None:
    assert [c.words for c in commands()] == [(v.name,) for v in VERBS]
    assert ("feed", "fetch") in by_words() and ("agent", "apply-service") in by_words()


@pytest.mark.parametrize("words", sorted(by_words()))
def test_the_usage_is_one_line_that_names_all_options(words: tuple[str, ...]) -> None:
    command = by_words()[words]
    assert command.usage.startswith(f"suture {' '.join(words)} ") and "\n" not in command.usage
    assert [o.names for o in command.options if o.names and not any(n in command.usage for n in o.names)] == []
    assert command.text and command.summary


@pytest.mark.parametrize(
    ("words", "name", "value", "metavar"),
    [
        (("scan",), "--patches", Value.FOLDER, "DIR"),
        (("scan",), "--open", Value.NONE, ""),
        (("feed", "add"), "--accept", Value.CHOICE, "{review,refused}"),
        (("feed", "fetch"), "--url", Value.TEXT, "URL"),
        (("status",), "--gdb", Value.FILE, "PATCH"),
        (("status",), "", Value.PROCESS, "pid"),
    ],
)
def test_what_an_option_takes_is_known(words: tuple[str, ...], name: str, value: Value, metavar: str) -> None:
    options = by_words()[words].options
    (option,) = [o for o in options if (name in o.names if name else not o.names)]
    assert (option.value, option.metavar) == (value, metavar)


def test_what_stands_before_a_verb_is_told_apart() -> None:
    names = {name for o in common_options() for name in o.names}
    assert names == {"-h", "--help", "--version", "--json", "--debug"}
    assert build_parser(None)[1] is None
