"""Relaxed consistency: old frames may finish in old code, and whoever asks is told how many are left."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from suture.cli.main import main
from suture.error import ExitCode
from suture.patch.file import PatchFile
from suture.patch.main_loop import endless_note
from suture.process.change.apply import apply
from suture.process.change.revert import revert
from suture.process.error import Busy, NoProcess
from suture.process.memory.placed import State
from suture.process.see.scan import scan
from suture.process.see.status import status
from suture.report.standing import Memory

Start = Callable[..., Any]
Compile = Callable[..., Path]
Make = Callable[..., PatchFile]

PROGRAM = r"""
#define _GNU_SOURCE
#include <pthread.h>
#include <stdio.h>
#include <unistd.h>
static int fd[2];
static volatile int turns;
/* inside until somebody writes to the pipe */
__attribute__((noinline)) int f(int x) { char c; if (x < 0) { read(fd[0], &c, 1); __asm__ volatile(""); }
    return x * 3 + 1; }
__attribute__((noinline)) void forever(void) { for (;;) { turns++; usleep(1000); } }
static void *waits(void *a) { printf("%d\n", f(-7)); return 0; }
static void *loops(void *a) { forever(); return 0; }
int main(int argc, char **argv) {
  char line[64]; pthread_t t;
  setvbuf(stdout, 0, _IOLBF, 0);
  pipe(fd);
  if (argc > 1) { pthread_create(&t, 0, loops, 0); while (!turns) usleep(1000); }
  while (fgets(line, sizeof line, stdin)) {
    if (*line == 'w') { pthread_create(&t, 0, waits, 0); usleep(50000); }
    if (*line == 'e') write(fd[1], "", 1);
    else printf("%d\n", f(7));
  }
}
"""
NEW = r"""
int f(int x) { return 1000; }
extern int usleep(unsigned);
void forever(void) { for (;;) usleep(1000); }
"""
REASON = "f only computes: old and new results may be mixed"


@pytest.fixture
def program(gcc: Compile, tmp_path: Path) -> Path:
    return gcc(tmp_path / "target", PROGRAM, "-pthread", "-w")


def test_a_strict_patch_waits_and_a_relaxed_one_leaves_the_frame_in_old_code(
    start: Start, make_patch: Make, program: Path, tmp_path: Path
) -> None:
    strict = make_patch(tmp_path / "strict", program, NEW, {"f": ["f"]})
    relaxed = make_patch(tmp_path / "relaxed", program, NEW, {"f": ["f"]}, relaxed=REASON)
    target = start(program)
    assert target.ask("w") == "22"  # a thread waits inside f
    with pytest.raises(Busy, match="is in f"):
        apply(target.pid, strict, timeout=0.2)
    result = apply(target.pid, relaxed)
    assert result.exit_code is ExitCode.OK
    assert result.old_frames is not None and (result.old_frames.threads, result.old_frames.functions) == (1, ("f",))
    assert target.ask("x") == "1000"
    left = status(target.pid).patches[0]
    assert left.state is State.APPLIED and left.relaxed == REASON
    assert left.old_frames is not None and left.old_frames.text == "1 thread still in old code of f"
    assert target.ask("e") == "-20"  # the old frame ends as it began
    gone = status(target.pid).patches[0]
    assert gone.old_frames is not None and gone.old_frames.text == ""
    revert(target.pid, relaxed.id)
    assert target.ask("x") == "22"


def test_a_strict_patch_is_not_looked_at(start: Start, make_patch: Make, program: Path, tmp_path: Path) -> None:
    patch = make_patch(tmp_path, program, NEW, {"f": ["f"]})
    target = start(program)
    assert target.ask("x") == "22"
    assert apply(target.pid, patch).old_frames is None
    assert status(target.pid).patches[0].old_frames is None


def test_a_main_loop_is_named_as_such(start: Start, make_patch: Make, program: Path, tmp_path: Path) -> None:
    groups, endless = {"forever": ["forever"]}, ("forever",)
    strict = make_patch(tmp_path / "strict", program, NEW, groups, endless=endless)
    relaxed = make_patch(tmp_path / "relaxed", program, NEW, groups, endless=endless, relaxed=REASON)
    target = start(program, "loop")
    assert target.ask("x") == "22"
    with pytest.raises(Busy, match="is in forever, which never returns") as raised:
        apply(target.pid, strict, timeout=0.2)
    assert "--relaxed" in raised.value.remedy
    result = apply(target.pid, relaxed)
    assert result.old_frames is not None and result.old_frames.endless == ("forever",)
    assert result.old_frames.text == "1 thread still in old code of forever (forever never returns)"


def test_the_commands_tell_who_is_left(
    start: Start, make_patch: Make, program: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    make_patch(tmp_path, program, NEW, {"f": ["f"]}, relaxed=REASON)
    target = start(program)
    assert target.ask("w") == "22"
    assert main(["apply", str(tmp_path / "test.suture.o"), str(target.pid)]) == ExitCode.OK
    assert "1 thread still in old code of f" in " ".join(capsys.readouterr().out.split())
    assert target.ask("e") == "-20"
    assert main(["status", str(target.pid)]) == ExitCode.OK
    assert "nobody is in old code any more" in " ".join(capsys.readouterr().out.split())


def test_no_relaxed_patch_is_proposed_where_it_would_be_refused(
    start: Start, make_patch: Make, program: Path, tmp_path: Path
) -> None:
    patch = make_patch(tmp_path, program, NEW, {"forever": ["forever"]}, endless=("forever",))
    verdict = replace(patch.manifest.verdict, notes=(endless_note("forever", False, may_be_relaxed=False),))
    patch = replace(patch, manifest=replace(patch.manifest, verdict=verdict))
    target = start(program, "loop")
    assert target.ask("x") == "22"
    with pytest.raises(Busy) as raised:
        apply(target.pid, patch, timeout=0.2)
    assert "--relaxed REASON" not in raised.value.remedy and "restart the program" in raised.value.remedy


def standing(pid: int, patch: PatchFile) -> tuple[Memory, str]:
    (row,) = [r for r in scan([patch]).rows if r.pid == pid]
    return row.standing.memory, row.why


def test_a_process_is_partly_fixed_while_old_frames_go_on(
    start: Start, make_patch: Make, program: Path, tmp_path: Path
) -> None:
    patch = make_patch(tmp_path, program, NEW, {"f": ["f"]}, relaxed=REASON)
    target = start(program)
    assert target.ask("w") == "22"
    apply(target.pid, patch)
    memory, why = standing(target.pid, patch)
    assert memory is Memory.PARTLY and "1 thread still in old code of f" in why
    assert target.ask("e") == "-20"
    assert standing(target.pid, patch)[0] is Memory.FIXED


def test_a_main_loop_keeps_a_process_partly_fixed(
    start: Start, make_patch: Make, program: Path, tmp_path: Path
) -> None:
    patch = make_patch(tmp_path, program, NEW, {"forever": ["forever"]}, endless=("forever",), relaxed=REASON)
    target = start(program, "loop")
    assert target.ask("x") == "22"
    apply(target.pid, patch)
    memory, why = standing(target.pid, patch)
    assert memory is Memory.PARTLY and "forever never returns" in why


def test_a_process_that_ends_during_the_work_is_said_to_have_ended(
    start: Start, make_patch: Make, program: Path, tmp_path: Path
) -> None:
    patch = make_patch(tmp_path, program, NEW, {"f": ["f"]})
    target = start(program)
    assert target.ask("x") == "22"

    def ends(step: object) -> None:
        os.kill(target.pid, signal.SIGKILL)

    with pytest.raises(NoProcess, match="has ended while Suture was at work on it, or right after") as raised:
        apply(target.pid, patch, on_step=ends)
    assert "why it ended" in raised.value.remedy
