"""How fast the command answers, measured through the installed start script, as a person meets it: by the time that it
keeps a processor, since what else the machine does only adds to the rest."""

from __future__ import annotations

import resource
import subprocess
import sys
from collections.abc import Sequence
from functools import cache
from pathlib import Path

import pytest

from suture.cli import main as cli
from suture.error import ExitCode

SUTURE = Path(sys.executable).with_name("suture")
LIMIT = 0.2  # seconds of a processor
ROUNDS = 40

HEAVY = ("rich", "capstone", "elftools", "debian", "sqlite3", "hypothesis")


# What any program of some size begins with: how fast this machine is.
BASE = "import argparse, dataclasses, datetime, decimal, enum, json, logging, pathlib, subprocess, typing"


def processor(command: Sequence[str | Path]) -> float:
    """Seconds of a processor that a command takes, its children included."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    done = subprocess.run(command, stdout=subprocess.DEVNULL, check=False)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    assert done.returncode in (ExitCode.OK, ExitCode.PARTIAL)  # partial: a process that may not be looked at
    return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


@cache
def limit() -> float:
    """Seconds of a processor: on a slow machine what five bare programs take."""
    return max(LIMIT, 5 * min(processor([sys.executable, "-c", BASE]) for _ in range(10)))


def fastest(*words: str) -> float:
    """Seconds of a processor of the best of some runs, up to the first within the limit."""
    best = float("inf")
    for _ in range(ROUNDS):
        best = min(best, processor([SUTURE, *words]))
        if best < limit():
            break
    return best


@pytest.mark.parametrize("words", [("--help",), ("--version",)])
def test_help_answers_at_once(words: Sequence[str]) -> None:
    assert fastest(*words) < limit()


def test_status_answers_at_once() -> None:
    assert fastest("status") < limit()


def test_help_imports_no_verb_and_nothing_heavy() -> None:
    program = (
        "import sys, contextlib\nfrom suture.cli.main import main\n"
        "with contextlib.suppress(SystemExit): main(['--help'])\nprint(*sys.modules, file=sys.stderr)"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    loaded = set(done.stderr.split())
    assert not loaded & set(HEAVY)
    assert not loaded & {verb.module for verb in cli.VERBS}
