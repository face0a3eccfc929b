from __future__ import annotations

import argparse
import contextlib
import enum
import fcntl
import json
import os
import pty
import struct
import subprocess
import sys
import termios
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


def test_json_understands_our_facts(capsys: pytest.CaptureFixture[str]) -> None:
    output.print_json([Fact(Path("/bin/sh"), b"\x01\xff", Colour.RED, frozenset({"b", "a"}))])
    assert json.loads(capsys.readouterr().out) == [
        {"path": "/bin/sh", "digest": "01ff", "colour": "red", "names": ["a", "b"]}
    ]


def test_json_refuses_what_it_does_not_understand() -> None:
    with pytest.raises(TypeError):
        output.print_json(object())


def test_a_table_in_a_pipe_has_one_line_for_each_row_in_aligned_columns(capsys: pytest.CaptureFixture[str]) -> None:
    output.print_table(["pid", "state"], [[1, "fixed in memory"], [12345, "x" * 300]])
    assert capsys.readouterr().out.splitlines() == [
        "pid    state",
        "1      fixed in memory",
        "12345  " + "x" * 300,
    ]


def test_a_table_of_nothing_has_its_headings(capsys: pytest.CaptureFixture[str]) -> None:
    output.print_table(["pid", "state"], [])
    assert capsys.readouterr().out == "pid  state\n"


def test_progress_is_a_line_for_each_step_on_stderr_when_that_is_no_terminal(
    capsys: pytest.CaptureFixture[str],
) -> None:
    with output.progress(argparse.Namespace(json=False)) as progress:
        progress("compiling a.c")
    assert capsys.readouterr() == ("", "compiling a.c ...\n")


def test_there_is_no_progress_with_json(capsys: pytest.CaptureFixture[str]) -> None:
    with output.progress(argparse.Namespace(json=True)) as progress:
        progress("compiling a.c")
    assert capsys.readouterr() == ("", "")


HOSTILE = "a\x1b[31m\nroot \udcff[bold]"


def test_what_another_process_calls_itself_reaches_a_pipe_as_one_harmless_line(
    capsys: pytest.CaptureFixture[str],
) -> None:
    output.print_table(["pid", "name"], [[1, HOSTILE]])
    assert capsys.readouterr().out.splitlines()[1] == "1    a\\x1b[31m\\nroot \\udcff[bold]"


def on_terminal(program: str) -> str:
    """What a Python program writes to a terminal of 80 columns."""
    leader, follower = pty.openpty()
    fcntl.ioctl(follower, termios.TIOCSWINSZ, struct.pack("HHHH", 24, 80, 0, 0))
    env = {**os.environ, "TERM": "xterm"}
    with subprocess.Popen([sys.executable, "-c", program], stdout=follower, stderr=follower, env=env):
        os.close(follower)
        written = b""
        # A terminal whose other end is closed answers EIO, not an empty read (pty(7)).
        with contextlib.suppress(OSError):
            while chunk := os.read(leader, 4096):
                written += chunk
    os.close(leader)
    return written.decode()


def test_the_same_reaches_a_terminal_unobeyed_and_wrapped_not_cut() -> None:
    program = (
        f"from suture.cli.output import print_table\nprint_table(['pid', 'name'], [[1, {HOSTILE!r} + 'x' * 100 + "
        "'end']])"
    )
    text = on_terminal(program)
    assert "\x1b[31m" not in text
    assert "a\\x1b[31m\\nroot" in text
    assert "[bold]" in text
    assert "end" in text


def test_progress_on_a_terminal_shows_the_step() -> None:
    program = (
        "import argparse, time\n"
        "from suture.cli.output import progress\n"
        "with progress(argparse.Namespace(json=False)) as report:\n"
        "    report('compiling a[bold].c')\n"
        "    time.sleep(0.3)\n"
    )
    assert "compiling a[bold].c" in on_terminal(program)
