"""Several patches on one binary, groups that are busy, overlap, replace, revert in any order."""

from __future__ import annotations

import subprocess
import time
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from suture.cli.main import main
from suture.error import ExitCode, Refused
from suture.patch.file import PatchFile
from suture.process.change.apply import apply
from suture.process.change.revert import revert
from suture.process.error import Busy
from suture.process.memory.placed import State
from suture.process.see.status import status
from suture.report.patch import Earlier
from tests.killed import killed_after

Start = Callable[..., Any]
Make = Callable[..., PatchFile]


def states(pid: int) -> dict[str, State]:
    return {p.name: p.state for p in status(pid).patches}


def test_patches_of_different_functions_come_and_go_in_any_order(
    start: Start, program: Path, library: Path, make_patch: Make, tmp_path: Path
) -> None:
    one = make_patch(tmp_path, library, "int answer(int x) { return 1; }", {"a": ["answer"]}, name="one")
    two = make_patch(tmp_path, library, "int third(int x) { return 2; }", {"t": ["third"]}, name="two")
    target = start(program)
    assert target.ask("2") == "7 107 9"
    apply(target.pid, one)
    apply(target.pid, two)
    assert target.ask("2") == "1 101 2"
    revert(target.pid, one.id)
    assert target.ask("2") == "7 107 2"
    apply(target.pid, one)
    revert(target.pid, two.id)
    assert target.ask("2") == "1 101 9"
    assert states(target.pid) == {"one": State.APPLIED, "two": State.REVERTED}


def test_overlap_is_refused_and_replace_takes_over(
    start: Start, program: Path, library: Path, make_patch: Make, tmp_path: Path
) -> None:
    old = make_patch(
        tmp_path,
        library,
        "int answer(int x) { return 1; } int third(int x) { return 3; }",
        {"g": ["answer", "third"]},
        name="old",
    )
    new, again = (
        make_patch(tmp_path, library, "int answer(int x) { return 50; }", {"g": ["answer"]}, name=name, cve=cve)
        for name, cve in (("new", "CVE-2099-0002"), ("again", "CVE-2099-0001"))
    )
    target = start(program)
    assert target.ask("2") == "7 107 9"
    apply(target.pid, old)
    with pytest.raises(Refused) as caught:
        apply(target.pid, new)
    assert old.id in caught.value.what
    assert target.ask("2") == "1 101 3"
    with pytest.raises(Refused, match=r"would take out its third, which it does not replace itself"):
        apply(target.pid, new, replace=True)
    assert target.ask("2") == "1 101 3"
    result = apply(target.pid, new, replace=True, accept_loss=True)
    assert result.lost == ("third",)
    assert result.replaced == (old.id,) and len(result.pauses_us) == 1
    assert target.ask("2") == "50 150 9"
    assert states(target.pid)["new"] is State.APPLIED and states(target.pid)["old"] is not State.APPLIED
    with pytest.raises(Refused):
        apply(target.pid, old)
    for _ in range(5):
        apply(target.pid, old, replace=True)
        assert target.ask("2") == "1 101 3"
        apply(target.pid, new, replace=True, accept_loss=True)
        assert target.ask("2") == "50 150 9"
    apply(target.pid, old, replace=True)
    assert apply(target.pid, again, replace=True).lost == ("third",)  # it has the fixes of the old one
    apply(target.pid, new, replace=True)
    revert(target.pid, new.id)
    assert target.ask("2") == "7 107 9"
    assert Path(f"/proc/{target.pid}/maps").read_text().count("memfd:suture") == 6


def test_reverting_what_another_has_replaced_is_refused(
    start: Start, program: Path, library: Path, make_patch: Make, tmp_path: Path
) -> None:
    old = make_patch(tmp_path, library, "int answer(int x) { return 1; }", {"g": ["answer"]}, name="old")
    new = make_patch(
        tmp_path, library, "int answer(int x) { return 2; }", {"g": ["answer"]}, name="new", supersedes=("old",)
    )
    target = start(program)
    target.ask("2")
    apply(target.pid, old)
    apply(target.pid, new)
    with pytest.raises(Refused) as caught:
        revert(target.pid, old.id)
    assert new.id in caught.value.what
    assert target.ask("2") == "2 102 9"
    with pytest.raises(Refused):
        revert(target.pid, "0123456789abcdef")


WAITS = r"""
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>
static int gate[2];
__attribute__((noinline)) int f(int x) { __asm__ volatile(""); return x * 3 + 1; }
__attribute__((noinline)) int deep(int x) { char c; if (read(gate[0], &c, 1) != 1) return 0; __asm__ volatile("");
    return x + 1; }
static void *inside(void *a) { return (void *)(long)deep(3); }
int main(void) {
  char line[64]; pthread_t t; void *r;
  pipe(gate);
  setvbuf(stdout, 0, _IOLBF, 0);
  pthread_create(&t, 0, inside, 0);
  while (fgets(line, 64, stdin)) {
    if (line[0] == 'l') { write(gate[1], "x", 1); pthread_join(t, &r); }
    printf("%d\n", f(7));
  }
}
"""


def test_a_busy_group_does_not_hold_back_the_others(
    start: Start, gcc: Callable[..., Path], make_patch: Make, tmp_path: Path
) -> None:
    program = gcc(tmp_path / "waits", WAITS, "-pthread", "-w")
    new = "int f(int x) { return 1000; } int deep(int x) { return 5; }"
    both = make_patch(tmp_path, program, new, {"f": ["f"], "deep": ["deep"]}, name="apart")
    together = make_patch(tmp_path, program, new, {"all": ["f", "deep"]}, name="together")
    target = start(program)
    assert target.ask() == "22"
    other = next(t for t in Path(f"/proc/{target.pid}/task").iterdir() if t.name != str(target.pid))
    while not (other / "syscall").read_text().startswith("0 "):  # read
        time.sleep(0.01)
    began = time.monotonic()
    with pytest.raises(Busy) as caught:
        apply(target.pid, together, timeout=0.3)
    assert "deep" in caught.value.what and 0.05 < time.monotonic() - began < 2
    assert target.ask() == "22"
    (told,) = status(target.pid).patches
    assert told.state is State.NEVER_APPLIED
    assert told.why and f" on {datetime.now(UTC):%Y-%m-}" in told.why.text and "apply it again" in told.why.text
    nothing = revert(target.pid, together.id)
    assert nothing.never_applied and not nothing.changed and nothing.exit_code is ExitCode.OK
    result = apply(target.pid, both, timeout=0.3)
    assert result.exit_code is ExitCode.PARTIAL
    assert {g.name: g.state for g in result.groups} == {"f": State.APPLIED, "deep": State.NEVER_APPLIED}
    assert "deep" in next(g.why for g in result.groups if g.name == "deep")
    assert target.ask() == "1000"
    assert status(target.pid).patches[0].state is State.PARTIAL
    assert target.ask("l") == "1000"
    again = apply(target.pid, both, timeout=2)
    assert again.exit_code is ExitCode.OK
    assert not revert(target.pid, both.id).never_applied
    assert states(target.pid)["apart"] is State.REVERTED, "it was in force"
    assert {g.state for p in status(target.pid).patches if p.name == "apart" for g in p.groups} == {State.REVERTED}
    apply(target.pid, both, timeout=2)
    revert(target.pid, both.id)
    assert target.ask() == "22"


def test_old_words_on_a_stack_are_told_from_return_addresses(
    start: Start, gcc: Callable[..., Path], make_patch: Make, tmp_path: Path
) -> None:
    program = gcc(tmp_path / "stale", r"""
        #include <stdio.h>
        #include <string.h>
        #include <unistd.h>
        __attribute__((noinline)) int f(int x) { __asm__ volatile(""); return x * 3 + 1; }
        extern char middle[];
        __attribute__((noinline)) int h(int x) { __asm__ volatile("middle: .globl middle"); int v = f(x);
            __asm__ volatile("" : "+r"(v)); return v + 1; }
        int main(void) { volatile unsigned long words[8]; setvbuf(stdout, 0, _IOLBF, 0); char line[64];
          for (int i = 0; i < 8; i++) words[i] = (unsigned long)middle + 3;
          while (fgets(line, 64, stdin)) printf("%d\n", h(1)); return (int)words[2]; }""", "-w")  # fmt: skip
    patch = make_patch(tmp_path, program, "int h(int x) { return 9; }", {"h": ["h"]})
    target = start(program)
    assert target.ask() == "5"
    result = apply(target.pid, patch, timeout=3)
    assert target.ask() == "9"
    # the first stop learns how to unwind, the second knows
    assert 1 < len(result.pauses_us) <= 3


def test_an_import_is_found_as_the_loader_would(
    start: Start, program: Path, library: Path, gcc: Callable[..., Path], make_patch: Make, tmp_path: Path
) -> None:
    patch = make_patch(
        tmp_path,
        library,
        "int atoi(const char *); int getpid(void); int second(int); int (*volatile way)(void) = getpid;"
        "int answer(int x) { return atoi(\"40\") + (getpid() == way()) + x; }",
        {"a": ["answer"]},
    )  # fmt: skip
    plain = start(program)
    assert plain.ask("2") == "7 107 9"
    apply(plain.pid, patch)
    assert plain.ask("2") == "43 143 9"
    over = gcc(tmp_path / "over.so", "int getpid(void) { static int n; return n++; }", "-fPIC", "-shared")
    interposed = start(program, env={"LD_PRELOAD": str(over)})
    assert interposed.ask("2") == "7 107 9"
    apply(interposed.pid, patch)
    assert interposed.ask("2") == "42 142 9"


def test_the_command_line_end_to_end(start: Start, program: Path, patch: PatchFile) -> None:
    suture = Path(__import__("sys").executable).parent / "suture"

    def run(*argv: object) -> tuple[int, str]:
        done = subprocess.run([suture, *map(str, argv)], capture_output=True, text=True, check=False)
        return done.returncode, done.stdout + done.stderr

    target = start(program)
    target.ask("2")
    path = patch.object.name
    code, out = run("apply", path, target.pid, "--dry-run")
    assert code == 0 and "switch answer" in out and target.ask("2") == "7 107 9"
    code, out = run("apply", path, target.pid)
    assert code == 0 and "applied" in out and target.ask("2") == "10 110 9"
    code, out = run("status", target.pid)
    assert code == 0 and patch.id in out
    code, out = run("scan", "--patches", Path(path).parent)
    row = next(line for line in out.splitlines() if line.startswith(f"{target.pid} "))
    assert "fixed in memory" in row
    code, out = run("revert", patch.id, target.pid, "--json")
    assert code == 0 and '"reverted"' in out and target.ask("2") == "7 107 9"
    code, out = run("scan", "--patches", Path(path).parent)
    assert "not fixed" in next(line for line in out.splitlines() if line.startswith(f"{target.pid} "))
    assert run("apply", path, 2**22 - 2)[0] == ExitCode.NO_PROCESS
    assert run("apply", path, target.pid + 0, "--timeout", "x")[0] == ExitCode.USAGE
    assert run("apply", program, target.pid)[0] == ExitCode.BAD_PATCH
    assert run("apply", path + "x", target.pid)[0] == ExitCode.NOT_FOUND
    Path(path).chmod(0o666)
    code, out = run("apply", path, target.pid)
    assert code == ExitCode.REFUSED and "chmod go-w" in out
    Path(path).chmod(0o644)


def carrying(
    start: Start, program: Path, library: Path, make_patch: Make, tmp_path: Path
) -> tuple[Any, list[PatchFile]]:
    """A process with `old` (answer, third), and `new` (answer) in its place, and a patch of `third` alone."""
    patches = [
        make_patch(tmp_path, library, text, groups, name=name, cve=f"CVE-2099-000{len(name)}")
        for name, text, groups in (
            (
                "old",
                "int answer(int x) { return 1; } int third(int x) { return 3; }",
                {"a": ["answer"], "t": ["third"]},
            ),
            ("new", "int answer(int x) { return 50; }", {"g": ["answer"]}),
            ("other", "int third(int x) { return 77; }", {"g": ["third"]}),
        )
    ]
    target = start(program)
    assert target.ask("2") == "7 107 9"
    apply(target.pid, patches[0])
    apply(target.pid, patches[1], replace=True, accept_loss=True)
    assert target.ask("2") == "50 150 9"
    return target, patches


def test_a_revert_says_that_the_original_code_is_back_and_what_else_is_there(
    start: Start, program: Path, library: Path, make_patch: Make, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    target, (old, new, _) = carrying(start, program, library, make_patch, tmp_path)
    assert main(["revert", new.id, str(target.pid)]) == ExitCode.OK
    assert target.ask("2") == "7 107 9"
    said = capsys.readouterr().out
    assert "the original code is in force" in said
    command = f"suture revert {new.id} {target.pid} --to {old.id}"
    assert command in said
    assert main(command.split()[1:]) == ExitCode.OK
    assert target.ask("2") == "1 101 3"
    assert states(target.pid) == {"old": State.APPLIED, "new": State.REPLACED}


def test_a_revert_goes_back_to_the_patch_that_was_replaced_in_one_stop(
    start: Start, program: Path, library: Path, make_patch: Make, tmp_path: Path
) -> None:
    target, (old, new, _) = carrying(start, program, library, make_patch, tmp_path)
    for _ in range(3):
        result = revert(target.pid, new.id, to=old.id)
        assert (result.patch, result.replaced, len(result.pauses_us)) == (old.id, (new.id,), 1)
        assert target.ask("2") == "1 101 3"
        apply(target.pid, new, replace=True, accept_loss=True)
        assert target.ask("2") == "50 150 9"
    revert(target.pid, new.id, to=old.id)
    assert revert(target.pid, old.id).earlier == (Earlier(new.id, "new"),)
    assert target.ask("2") == "7 107 9"


def test_going_back_to_what_is_not_there_or_whose_functions_a_third_patch_has_is_refused(
    start: Start, program: Path, library: Path, make_patch: Make, tmp_path: Path
) -> None:
    target, (old, new, other) = carrying(start, program, library, make_patch, tmp_path)
    with pytest.raises(Refused, match="does not carry the patch 0123456789abcdef"):
        revert(target.pid, new.id, to="0123456789abcdef")
    apply(target.pid, other)
    with pytest.raises(Refused, match=f"functions of {old.id} .old. belong to {other.id} now"):
        revert(target.pid, new.id, to=old.id)
    assert target.ask("2") == "50 150 77"
    revert(target.pid, other.id)
    revert(target.pid, new.id, to=old.id)
    assert target.ask("2") == "1 101 3"


def test_going_back_is_wholly_done_or_not_wherever_the_applier_dies(
    start: Start, program: Path, library: Path, make_patch: Make, tmp_path: Path
) -> None:
    """Each of the two functions by itself: they are groups of their own."""
    target, (old, new, _) = carrying(start, program, library, make_patch, tmp_path)
    for step in range(1, 40):
        apply(target.pid, new, replace=True, accept_loss=True)
        name = killed_after(step, lambda on_step: revert(target.pid, new.id, to=old.id, on_step=on_step))
        answer, added, third = target.ask("2").split()
        assert (answer, added) in (("50", "150"), ("1", "101")) and third in ("9", "3"), name
        revert(target.pid, new.id, to=old.id)
        assert target.ask("2") == "1 101 3"
        if name is None:
            break
    assert step > 8
