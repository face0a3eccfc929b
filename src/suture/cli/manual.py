"""Manual pages, man(7): suture(1), and one for each verb with its actions, made from what --help says.

`python -m suture.cli.manual FOLDER` writes them. $SOURCE_DATE_EPOCH is their date, for builds that come out the same.
"""

from __future__ import annotations

import os
import re
import sys
import textwrap
from collections.abc import Iterable, Iterator, Mapping
from datetime import UTC, datetime
from pathlib import Path

from suture import __version__, whole_file
from suture.cli.command_line import Command, CommandOption, commands, common_options
from suture.cli.exit_code import MEANING
from suture.cli.main import DESCRIPTION
from suture.error import ExitCode

SECTION = 1
_SPECIAL = str.maketrans({"\\": r"\e", "-": r"\-", "'": r"\(aq", "`": r"\(ga", "^": r"\(ha", "~": r"\(ti"})
_TITLE = "closes security holes in programs while they run"
_FILES = (
    ("/etc/suture/agent.toml", "what the agent of this host does (`suture agent check`)"),
    ("/var/lib/suture", "what the agent keeps, and kernel patches that are loaded at boot"),
    ("~/.cache/suture", "what `suture make` keeps for later; $SUTURE_CACHE names another folder"),
)


def pages() -> dict[str, str]:
    """The text of each page by its file name."""
    found = commands()
    return {
        _file("suture"): _text("suture", _TITLE, _overview(found)),
        **{_file(_name(c)): _text(_name(c), c.summary, _verb(c)) for c in found},
    }


def _name(command: Command) -> str:
    return f"suture-{command.words[0]}"


def _file(name: str) -> str:
    return f"{name}.{SECTION}"


def _text(name: str, summary: str, body: Iterable[str]) -> str:
    epoch = os.environ.get("SOURCE_DATE_EPOCH")
    date = datetime.fromtimestamp(int(epoch), UTC) if epoch else datetime.now(UTC)
    head = f'.TH {roff(name.upper())} {SECTION} "{date:%Y-%m-%d}" "suture {__version__}" "Suture"'
    return "\n".join([head, ".SH NAME", f"{roff(name)} \\- {roff(summary)}", *body]) + "\n"


def _overview(found: Iterable[Command]) -> Iterator[str]:
    yield from (".SH SYNOPSIS", *_usage(r"suture [--json] [--debug] VERB [OPTION ...]"))
    yield from (".SH DESCRIPTION", *paragraphs(DESCRIPTION), ".SH VERBS")
    for command in found:
        yield from (".TP", rf"\fB{roff(_name(command))}\fR({SECTION})", *filled(command.summary))
    yield from (".SH OPTIONS", *_options(common_options()), ".SH FILES")
    for path, text in _FILES:
        yield from (".TP", rf"\fI{roff(path)}\fR", *filled(text))
    yield from (*_exit_codes(ExitCode), ".SH SEE ALSO", _see(_name(c) for c in found))


def _verb(command: Command) -> Iterator[str]:
    below = command.actions
    yield ".SH SYNOPSIS"
    for n, one in enumerate(below or (command,)):
        yield from ((".br",) if n else ())
        yield from _usage(one.usage)
    yield from (".SH DESCRIPTION", *paragraphs(command.text))
    for action in below:
        yield from (f".SH {roff(' '.join(action.words).upper())}", *filled(f"{action.summary}.".capitalize()))
        yield from paragraphs(action.text)
        yield from (*_options(_own(action.options)), ".PP", "Examples:", *_examples(action))
        own = getattr(action.module, "OWN_CODES", {})
        yield from ((".PP", "It has exit codes of its own:", *_codes(own)) if own else ())
    yield from (".SH OPTIONS", *_options(command.options))
    yield from (".SH EXAMPLES", *_examples(command))
    used = {code for c in command.below() for code in getattr(c.module, "EXIT_CODES", ExitCode)}
    yield from (*_exit_codes(c for c in ExitCode if c in used), ".SH SEE ALSO", _see(["suture"]))


def _own(options: Iterable[CommandOption]) -> Iterator[CommandOption]:
    """Without those that every command has."""
    common = {name for option in common_options() for name in option.names}
    return (o for o in options if not common & set(o.names))


def _usage(usage: str) -> Iterator[str]:
    words = usage.split(" ")
    plain = [n for n, word in enumerate(words) if word.startswith(("[", "-"))]
    bold = plain[0] if plain else len(words)
    yield rf"\fB{roff(' '.join(words[:bold]))}\fR {roff(' '.join(words[bold:]))}".rstrip()


def _options(options: Iterable[CommandOption]) -> Iterator[str]:
    for option in options:
        value = rf" \fI{roff(option.metavar)}\fR" if option.metavar else ""
        names = ", ".join(rf"\fB{roff(name)}\fR" for name in option.names)
        yield from (".TP", f"{names}{value}".strip(), *filled(option.help))


def _examples(command: Command) -> Iterator[str]:
    yield from (".nf", ".RS 4")
    for line in getattr(command.module, "EXAMPLES", ()):
        yield _begun(roff(line))
    yield from (".RE", ".fi")


def _exit_codes(codes: Iterable[ExitCode]) -> Iterator[str]:
    yield from (".SH EXIT STATUS", *_codes({int(code): MEANING[code] for code in codes}))


def _codes(meaning: Mapping[int, str]) -> Iterator[str]:
    for code, text in meaning.items():
        yield from (".TP", rf"\fB{code}\fR", *filled(text))


def _see(names: Iterable[str]) -> str:
    return ",\n".join(rf"\fB{roff(name)}\fR({SECTION})" for name in names)


def paragraphs(text: str) -> Iterator[str]:
    """A help text as lines of roff; a line that is set in stays a line of its own."""
    for n, paragraph in enumerate(re.split(r"\n\s*\n", text.strip())):
        yield from ([".PP"] if n else [])
        for m, line in enumerate(re.split(r"\n(?= )", paragraph)):
            yield from ([".br"] if m else [])
            yield from filled(line)


def filled(text: str) -> list[str]:
    """A paragraph as lines of roff: `code` in bold and *words* in italics."""
    line = roff(" ".join(text.split()))
    line = re.sub(r"\\\(ga(.+?)\\\(ga", r"\\fB\1\\fR", line)
    line = re.sub(r"(?<![\w*])\*(\w[^*]*)\*(?!\w)", r"\\fI\1\\fR", line)
    return [_begun(x) for x in textwrap.wrap(line, 78, break_long_words=False, break_on_hyphens=False)]


def _begun(line: str) -> str:
    """A line that roff does not take for one of its requests."""
    return rf"\&{line}" if line.startswith((".", "'")) else line


def roff(text: str) -> str:
    """Text that roff prints as it is, where it does not begin a line."""
    return text.translate(_SPECIAL)


def main(words: list[str]) -> int:
    if len(words) != 1:
        print("usage: python -m suture.cli.manual FOLDER", file=sys.stderr)
        return ExitCode.USAGE
    folder = Path(words[0])
    folder.mkdir(parents=True, exist_ok=True)
    for name, text in pages().items():
        whole_file.replace(folder / name, text.encode())
    return ExitCode.OK


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
