from __future__ import annotations

import argparse
import enum
import json
from dataclasses import dataclass
from pathlib import Path

import pytest

from suture.cli import output


class Colour(enum.Enum):
    RED = "red"


@dataclass(frozen=True)
class Fact:
    path: Path
    digest: bytes
    colour: Colour
    names: frozenset[str]


def test_json_understands_our_facts(capsys):
    output.print_json([Fact(Path("/bin/sh"), b"\x01\xff", Colour.RED, frozenset({"b", "a"}))])
    assert json.loads(capsys.readouterr().out) == [
        {"path": "/bin/sh", "digest": "01ff", "colour": "red", "names": ["a", "b"]}
    ]


def test_json_refuses_what_it_does_not_understand():
    with pytest.raises(TypeError):
        output.print_json(object())


def test_a_table_in_a_pipe_has_one_line_for_each_row_in_aligned_columns(capsys):
    output.print_table(["pid", "state"], [[1, "fixed in memory"], [12345, "x" * 300]])
    assert capsys.readouterr().out.splitlines() == [
        "pid    state",
        "1      fixed in memory",
        "12345  " + "x" * 300,
    ]


def test_a_table_of_nothing_has_its_headings(capsys):
    output.print_table(["pid", "state"], [])
    assert capsys.readouterr().out == "pid  state\n"


def test_progress_is_a_line_for_each_step_on_stderr_when_that_is_no_terminal(capsys):
    with output.progress(argparse.Namespace(json=False)) as progress:
        progress("compiling a.c")
    assert capsys.readouterr() == ("", "compiling a.c ...\n")


def test_there_is_no_progress_with_json(capsys):
    with output.progress(argparse.Namespace(json=True)) as progress:
        progress("compiling a.c")
    assert capsys.readouterr() == ("", "")
