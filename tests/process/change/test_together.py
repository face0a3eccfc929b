"""Patches of several binaries switched in one stop of a process: all or none, wherever the applier dies."""

from __future__ import annotations

import re
import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from suture.error import ExitCode, Refused
from suture.patch.file import PatchFile
from suture.process.change.apply import apply
from suture.process.change.revert import revert
from suture.process.error import Busy, WrongTarget
from suture.process.memory.loaded import loader_debug
from suture.process.memory.placed import State
from suture.process.see.status import status
from tests.killed import killed_after

Start = Callable[..., Any]
Make = Callable[..., PatchFile]

LOW = r"""
#include <unistd.h>
__attribute__((noinline)) int low(int x) { __asm__ volatile(""); return x * 100000 + 1; }
__attribute__((noinline)) int waits(int fd) { char c; long n = read(fd, &c, 1); __asm__ volatile("");
    return (int)n + 1; }
"""
HIGH = r"""
__attribute__((noinline)) int high(int x) { __asm__ volatile(""); return x * 100000 + 2; }
"""
PROGRAM = r"""
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>
int low(int), waits(int), high(int);
static int gate[2];
static volatile long rounds, torn;
static int far;
__attribute__((noinline)) int own(int x) { __asm__ volatile(""); return x * 100000 + 3; }
/* what is asked twice with the same answer had it in between too, and so had the others */
static void *work(void *a) {
  for (;; rounds++) {
    int first = low(0) > 100, second = high(0) > 100, third = own(0) > 100, again = low(0) > 100;
    if (first == again && (far ? third : second) != first) torn++;
    if (rounds % 64 == 0) usleep(50);
  }
}
static void *inside(void *a) { waits(gate[0]); return 0; }
int main(int argc, char **argv) {
  char line[64];
  pthread_t t, u;
  far = argc > 1;
  setvbuf(stdout, 0, _IOLBF, 0);
  if (pipe(gate)) return 1;
  pthread_create(&t, 0, work, 0);
  while (fgets(line, sizeof line, stdin)) {
    if (line[0] == 'e') { pthread_create(&u, 0, inside, 0); usleep(50000); }
    if (line[0] == 'l') { if (write(gate[1], "x", 1) != 1) return 1; pthread_join(u, 0); }
    printf("%d %d %d torn %ld\n", low(0), high(0), own(0), torn);
  }
}
"""
OLD, NEW, NEW_OWN = "1 2 3 torn 0", "1000 2000 3 torn 0", "1000 2 3000 torn 0"


@dataclass(frozen=True)
class Built:
    program: Path
    low: Path
    high: Path


@pytest.fixture(scope="module", params=["-O0", "-O2"])
def built(request: pytest.FixtureRequest, gcc: Callable[..., Path], tmp_path_factory: pytest.TempPathFactory) -> Built:
    folder, level = tmp_path_factory.mktemp("together"), request.param
    low = gcc(folder / "liblow.so", LOW, "-fPIC", "-shared", level)
    high = gcc(folder / "libhigh.so", HIGH, "-fPIC", "-shared", level)
    flags = (str(low), str(high), f"-Wl,-rpath,{folder}", "-pthread", level)
    return Built(gcc(folder / "asks", PROGRAM, *flags), low, high)


@pytest.fixture
def patches(built: Built, make_patch: Make, tmp_path: Path) -> tuple[PatchFile, PatchFile, PatchFile]:
    low = make_patch(
        tmp_path,
        built.low,
        "int low(int x) { return 1000; } int waits(int x) { return 5; }",
        {"g": ["low", "waits"]},
        name="low",
    )
    high = make_patch(tmp_path, built.high, "int high(int x) { return 2000; }", {"g": ["high"]}, name="high")
    own = make_patch(tmp_path, built.program, "int own(int x) { return 3000; }", {"g": ["own"]}, name="own")
    return low, high, own


def states(pid: int) -> dict[str, State]:
    return {p.name: p.state for p in status(pid).patches}


def test_two_libraries_change_in_one_stop_and_by_one_byte(
    start: Start, built: Built, patches: tuple[PatchFile, ...]
) -> None:
    low, high, _ = patches
    target = start(built.program)
    assert target.ask() == OLD
    steps: list[str] = []
    result = apply(target.pid, low, companions=[high], on_step=steps.append)
    assert target.ask() == NEW
    assert result.exit_code is ExitCode.OK and len(result.pauses_us) == 1
    assert [(r.patch, r.changed) for r in result.each] == [(low.id, True), (high.id, True)]
    switches = [s for s in steps if s.startswith("switch ")]
    assert switches == ["switch g, g"], "one write for both"
    assert steps.index("stopped") > steps.index("borrow: at rest"), "what is placed is placed before the stop"
    assert states(target.pid) == {"low": State.APPLIED, "high": State.APPLIED}
    for asked in (high.id, low.id):
        back = revert(target.pid, asked)
        assert target.ask() == OLD
        assert len(back.pauses_us) == 1 and {r.patch for r in back.each} == {low.id, high.id}
        again = apply(target.pid, high, companions=[low])
        assert target.ask() == NEW and len(again.pauses_us) == 1
    assert not apply(target.pid, low, companions=[high]).changed
    assert Path(f"/proc/{target.pid}/maps").read_text().count("memfd:suture:") == 4


def killing(
    target: Any, work: Callable[[Callable[[str], None]], object], whole: tuple[str, str], retry: Callable[[], object]
) -> list[str]:
    """Kill `work` after each of its steps; the process is whole each time, and `retry` ends it. The steps' names."""
    seen = []
    for step in range(1, 400):
        name = killed_after(step, work)
        if name is None:
            break
        seen.append(name)
        for _ in range(3):
            assert target.ask() in whole, (name, seen)
        told = {p.groups[0].effective is State.APPLIED for p in status(target.pid).patches if p.groups}
        assert len(told) < 2 or target.ask() == whole[0], (name, told)
        retry()
    return seen


@pytest.mark.parametrize("far", [False, True])
def test_apply_and_revert_of_two_binaries_may_be_killed_after_every_step(
    start: Start, built: Built, patches: tuple[PatchFile, ...], far: bool
) -> None:
    """`far`: a library and the program, further apart than a stub reaches."""
    low, high, own = patches
    other, new = (own, NEW_OWN) if far else (high, NEW)
    target = start(built.program, *(["far"] if far else []))
    assert target.ask() == OLD

    def put_in(on_step: Callable[[str], None] = lambda name: None) -> None:
        apply(target.pid, low, companions=[other], on_step=on_step)

    def take_out(on_step: Callable[[str], None] = lambda name: None) -> None:
        revert(target.pid, other.id, on_step=on_step)

    def in_and_out() -> None:
        put_in()
        assert target.ask() == new
        take_out()
        assert target.ask() == OLD

    def out_and_in() -> None:
        if any(s is State.APPLIED or s is State.INTERRUPTED for s in states(target.pid).values()):
            take_out()
        assert target.ask() == OLD
        put_in()
        assert target.ask() == new

    applied = killing(target, put_in, (OLD, new), in_and_out)
    assert any(s.startswith("switch g") for s in applied) and "finish low" in applied
    reverted = killing(target, take_out, (OLD, new), out_and_in)
    assert any(s.startswith("switch g") for s in reverted) and len(reverted) >= 9, reverted
    assert re.fullmatch(r"\d+ \d+ \d+ torn 0", target.ask())
    assert Path(f"/proc/{target.pid}/maps").read_text().count("memfd:suture:") == 4


def test_a_first_apply_of_two_may_be_killed_after_every_step(
    start: Start, built: Built, patches: tuple[PatchFile, ...]
) -> None:
    low, high, _ = patches

    def put_in(pid: int, on_step: Callable[[str], None]) -> None:
        apply(pid, low, companions=[high], on_step=on_step)

    seen = []
    for step in range(1, 400):
        target = start(built.program)
        assert target.ask() == OLD
        name = killed_after(step, partial(put_in, target.pid))
        if name is None:
            break
        seen.append(name)
        assert target.ask() in (OLD, NEW), name
        apply(target.pid, low, companions=[high])
        assert target.ask() == NEW, name
        assert Path(f"/proc/{target.pid}/maps").read_text().count("memfd:suture:") == 4, name
        assert states(target.pid) == {"low": State.APPLIED, "high": State.APPLIED}, name
        revert(target.pid, low.id)
        assert target.ask() == OLD, name
        target.process.kill()
    assert seen.count("contents written") == 2 and "switch g, g" in seen


def test_one_that_is_in_use_keeps_all_out(start: Start, built: Built, patches: tuple[PatchFile, ...]) -> None:
    low, high, _ = patches
    target = start(built.program)
    target.ask("e")
    for first, second in ((low, high), (high, low)):
        with pytest.raises(Busy, match=r"is in waits, which low changes; .* change in one stop, so none of them did"):
            apply(target.pid, first, companions=[second], timeout=0.3)
        assert target.ask() == OLD
        assert states(target.pid) == {"low": State.NEVER_APPLIED, "high": State.NEVER_APPLIED}
    target.ask("l")
    apply(target.pid, low, companions=[high])
    assert target.ask() == NEW
    target.ask("e")
    assert target.ask() == NEW, "the new function does not wait"


def test_one_that_is_refused_keeps_all_out_and_nothing_is_placed(
    start: Start, built: Built, patches: tuple[PatchFile, ...], make_patch: Make, tmp_path: Path
) -> None:
    low, high, _ = patches
    target = start(built.program)
    assert target.ask() == OLD
    other = make_patch(tmp_path / "o", built.high, "int high(int x) { return 7; }", {"g": ["high"]}, name="other")
    with pytest.raises(Refused, match=r"two of the patches change high"):
        apply(target.pid, low, companions=[high, other])
    assert "memfd:suture:" not in Path(f"/proc/{target.pid}/maps").read_text()
    apply(target.pid, other)
    with pytest.raises(Refused, match=rf"already replaced by {other.id} .*\(high\); low and high change in one stop"):
        apply(target.pid, low, companions=[high])
    assert target.ask() == "1 7 3 torn 0"
    apply(target.pid, low, companions=[high], replace=True)
    assert target.ask() == NEW
    assert states(target.pid) == {"low": State.APPLIED, "high": State.APPLIED, "other": State.REPLACED}
    with pytest.raises(Refused, match="was applied together with"):
        revert(target.pid, high.id, to=other.id)
    assert target.ask() == NEW


@pytest.fixture
def absent(gcc: Callable[..., Path], make_patch: Make, tmp_path: Path) -> PatchFile:
    """A patch of a library that no process has loaded."""
    elsewhere = gcc(tmp_path / "libelsewhere.so", HIGH, "-fPIC", "-shared", "-DX")
    return make_patch(tmp_path, elsewhere, "int high(int x) { return 7; }", {"g": ["high"]}, name="absent")


def test_a_binary_that_is_not_loaded_is_named_or_left_out_as_is_asked(
    start: Start,
    built: Built,
    patches: tuple[PatchFile, ...],
    absent: PatchFile,
    gcc: Callable[..., Path],
    make_patch: Make,
    tmp_path: Path,
) -> None:
    low, high, _ = patches
    (tmp_path / "v2").mkdir()
    rebuilt = gcc(tmp_path / "v2/libhigh.so", HIGH, "-fPIC", "-shared", "-DY")
    build = make_patch(tmp_path, rebuilt, "int high(int x) { return 7; }", {"g": ["high"]}, name="build")
    target = start(built.program)
    assert target.ask() == OLD
    with pytest.raises(WrongTarget, match=r"no libelsewhere.so loaded.*\(absent\); low and absent change in one stop"):
        apply(target.pid, low, companions=[absent])
    with pytest.raises(WrongTarget, match=r"libhigh.so has build-id .*\(build\)"):
        apply(target.pid, low, companions=[build], where_loaded=True)
    assert target.ask() == OLD
    result = apply(target.pid, low, companions=[absent, high], where_loaded=True)
    assert target.ask() == NEW and {r.patch for r in result.each} == {low.id, high.id}


def test_what_came_one_by_one_goes_one_by_one_and_what_came_later_goes_with_it(
    start: Start, built: Built, patches: tuple[PatchFile, ...]
) -> None:
    low, high, _ = patches
    target = start(built.program)
    assert target.ask() == OLD
    apply(target.pid, low)
    time.sleep(0.05)
    apply(target.pid, high)
    assert int(target.ask().split()[-1]) > 0, "what this is for"
    revert(target.pid, low.id)
    assert target.ask().startswith("1 2000 3 ")
    apply(target.pid, low, companions=[high])
    assert target.ask().startswith("1000 2000 3 ")
    assert sorted(p.name for p in status(target.pid).patches) == ["high", "low"], "low's memory is there twice"
    assert {r.patch for r in revert(target.pid, high.id).each} == {low.id, high.id}, "high was there; low names it"
    assert target.ask().startswith("1 2 3 ")


def test_a_process_that_computes_all_the_time_never_sees_one_half(
    start: Start, built: Built, patches: tuple[PatchFile, ...]
) -> None:
    low, high, _ = patches
    target = start(built.program)
    end = time.monotonic() + 2
    while time.monotonic() < end:
        apply(target.pid, low, companions=[high])
        assert target.ask() == NEW
        revert(target.pid, low.id)
        assert target.ask() == OLD


def test_a_process_that_is_loading_is_waited_for_before_a_part_is_called_absent(
    start: Start, built: Built, patches: tuple[PatchFile, ...], absent: PatchFile
) -> None:
    """The loader's own word for it (r_debug, link.h) is written into the process, as between two libraries."""
    low, high, _ = patches
    target = start(built.program)
    assert target.ask() == OLD

    def says(state: int) -> None:
        with open(f"/proc/{target.pid}/mem", "r+b", buffering=0) as memory:
            memory.seek(loader_debug(target.pid) + 24)  # r_state
            memory.write(state.to_bytes(4, "little"))

    says(1)  # RT_ADD
    with pytest.raises(Busy, match="is just loading"):
        apply(target.pid, low, companions=[high, absent], where_loaded=True, timeout=0.2)
    assert target.ask() == OLD and "memfd:suture:" not in Path(f"/proc/{target.pid}/maps").read_text()
    says(0)
    apply(target.pid, low, companions=[high, absent], where_loaded=True)
    assert target.ask() == NEW
