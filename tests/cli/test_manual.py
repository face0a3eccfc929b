"""The manual pages: right for mandoc, and saying what --help says."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

from suture.cli import manual
from suture.cli.command_line import Command, commands

PAGES = manual.pages()


def printed(text: str) -> str:
    """As a reader sees it, in one line."""
    words = ["mandoc", "-Tascii", "-Owidth=1000"]
    done = subprocess.run(words, input=text, capture_output=True, text=True, check=True)
    return " ".join(re.sub(".\b", "", done.stdout).split())


@pytest.mark.parametrize("name", PAGES)
def test_mandoc_has_nothing_to_say_against_a_page(name: str) -> None:
    done = subprocess.run(
        ["mandoc", "-Tlint", "-Wwarning"], input=PAGES[name], capture_output=True, text=True, check=False
    )
    assert (done.returncode, done.stdout + done.stderr) == (0, "")


def test_a_page_that_is_wrong_would_be_found() -> None:
    done = subprocess.run(
        ["mandoc", "-Tlint", "-Wwarning"], input=".SH NAME\n.PP\n", capture_output=True, text=True, check=False
    )
    assert done.returncode != 0


@pytest.mark.parametrize("command", commands(), ids=lambda c: c.words[0])
def test_a_page_has_the_text_the_options_and_the_examples_of_its_verb_and_actions(command: Command) -> None:
    page = printed(PAGES[f"suture-{command.words[0]}.1"])
    for one in command.below():
        text = re.sub(r"`(.+?)`|(?<![\w*])\*(\w[^*]*)\*", r"\1\2", " ".join(one.text.split()))
        wanted = [text, *([] if one.actions else [one.usage]), *(name for o in one.options for name in o.names)]
        wanted += [" ".join(line.split()) for line in getattr(one.module, "EXAMPLES", ())]
        assert [w for w in wanted if w not in page] == []


def test_the_first_page_leads_to_all_others() -> None:
    page = printed(PAGES["suture.1"])
    assert [name for name in PAGES if f"{name.removesuffix('.1')}(1)" not in page and name != "suture.1"] == []


@pytest.mark.parametrize(
    ("text", "lines"),
    [
        ("A `b c` d-e.", [r"A \fBb c\fR d\-e."]),
        ("*in memory* and 2*3*4", [r"\fIin memory\fR and 2*3*4"]),
        (".suture.o files", [r"\&.suture.o files"]),
        (r"a\b 'c' ~/.cache ^C", [r"a\eb \(aqc\(aq \(ti/.cache \(haC"]),
    ],
)
def test_text_is_printed_as_it_is(text: str, lines: list[str]) -> None:
    assert manual.filled(text) == lines


def test_the_command_writes_the_same_bytes_for_the_same_date(tmp_path: Path) -> None:
    for folder in ("a", "b"):
        subprocess.run(
            [sys.executable, "-m", "suture.cli.manual", tmp_path / folder],
            env={"SOURCE_DATE_EPOCH": "1700000000"},
            check=True,
        )
    both = [{p.name: p.read_bytes() for p in (tmp_path / folder).iterdir()} for folder in ("a", "b")]
    assert both[0] == both[1] and set(both[0]) == set(PAGES)
    assert b'"2023-11-14"' in both[0]["suture.1"]
