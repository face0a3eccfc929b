"""Exceptions through code of a live patch: thrown in it, passing through it, caught in it; destructors on the way; from
outside."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

from suture.cli.main import main as status_command
from suture.error import ExitCode, Refused
from suture.number import Address
from suture.patch.file import PatchFile
from suture.patch.finder import encode_hook
from suture.patch.record import Record
from suture.process.change.apply import apply
from suture.process.change.revert import revert
from suture.process.change.unwind_table import find_runtime
from suture.process.memory import memory
from suture.process.memory.maps import read_maps
from suture.process.memory.placed import find_placed
from suture.process.stack.frame import NoFrame
from suture.process.stack.patch_frame import PatchFrames
from suture.process.tracee import Tracee
from tests.killed import applying, killed_after
from tests.making.conftest import Package, packages

THROWS = """
#include <stdexcept>
#include <string>
static long destroyed;
struct own_error { long code; };
struct other_error { long code; };
struct guard { long by; explicit guard(long n) : by(n) {} ~guard() { destroyed += by; } };
static __attribute__((noinline)) long risky(long x) {
  if (x > 100) throw own_error{x};
  if (x > 50) throw std::runtime_error("too much");
  return x + 1;
}
static __attribute__((noinline)) long middle(long x) { guard g(1); return risky(x) + 1; }
static __attribute__((noinline)) long deeper(long x) { std::string s(x, 'a'); return middle(x) + (long)s.size(); }
extern "C" long caught(long x) {
  try { return deeper(x); }
  catch (const own_error &e) { return -e.code; }
  catch (const std::exception &e) { return e.what()[0]; }
}
extern "C" long outer(long x) {
  try { return caught(x) + deeper(x); } catch (const std::exception &e) { return e.what()[4]; } catch (...) {
      return -1; }
}
extern "C" long sum(long) { return destroyed; }
"""


def fixed(*changes: tuple[str, str]) -> str:
    text = THROWS
    for old, new in changes:
        assert old in text
        text = text.replace(old, new)
    return text


def answers(target: Any) -> list[int]:
    return [target.ask("caught", n) for n in (3, 60, 200)] + [target.ask("outer", n) for n in (3, 60)]


OLD = [8, ord("t"), -200, 16, ord("m")]


@pytest.fixture(scope="module")
def throwing(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Package]:
    """The package of one shape, shipped; each test brings a fix."""
    with packages(tmp_path_factory.mktemp("throwing")) as make:
        yield make({"a.cc": THROWS}, {}, "caught outer sum", request.param)


@pytest.mark.parametrize("throwing", ["library", "pie", "fixed"], indirect=True)
@pytest.mark.parametrize(
    ("change", "new"),
    [
        (("x > 50)", "x > 2)"), [ord("t"), ord("t"), -200, ord("m"), ord("m")]),
        (("risky(x) + 1", "risky(x) + 101"), [108, ord("t"), -200, 216, ord("m")]),
        (("e.what()[0]", "e.what()[1]"), [8, ord("o"), -200, 16, ord("m")]),
        (("catch (const own_error &e)", "catch (const other_error &e)"), [8, ord("t"), None, 16, ord("m")]),
        (("guard g(1)", "guard g(7)"), OLD),
    ],
    ids=["thrown", "passing", "caught", "another type is caught", "cleanup"],
)
def test_exceptions_go_through_new_code(throwing: Package, change: tuple[str, str], new: list[int | None]) -> None:
    throwing.fix = {"a.cc": fixed(change)}
    throwing.remake_post()
    patch = throwing.patch()
    assert patch.manifest.exceptions
    target = throwing.start()
    assert answers(target) == OLD
    before = target.ask("sum")
    target.apply(patch)
    for n, value in zip((3, 60, 200), new, strict=False):
        if value is not None:
            assert target.ask("caught", n) == value
    assert [target.ask("outer", n) for n in (3, 60)] == new[3:]
    if change[0].startswith("guard"):
        assert target.ask("sum") - before == 7 * 7
    if None in new:
        assert target.ask("outer", 200) == -1  # what the function does not catch any more, its caller does
    target.revert(patch)
    assert answers(target) == OLD
    throwing.end()


LOAD = (
    THROWS
    + """
#include <pthread.h>
#include <unistd.h>
#include <sys/wait.h>
static volatile long stop, wrong, rounds;  // wrong: the first answer that is neither old nor new, caught's thousandfold
static thread_local long mine;
static void *work(void *) {
  while (!stop) {
    for (long x : {3L, 60L, 200L}) {
      long a = caught(x), b = outer(x > 100 ? 60 : x);
      bool fine = x == 3 ? (a == 8 || a == 108 || a == 't') : x == 60 ? (a == 't' || a == 'o') : a == -200;
      /* outer is in no patch: a switch between its two calls gives one answer of each, 116 */
      bool also = b == 16 || b == 216 || b == 116 || b == 'm';
      if (!(fine && also) && !wrong) wrong = 1000 * a + b;
      mine++;
    }
    __sync_fetch_and_add(&rounds, 1);
    usleep(200);  /* outside for a while, so that a stop finds all of them there */
  }
  return 0;
}
extern "C" long threads(long n) {
  for (long i = 0; i < n; i++) { pthread_t t; pthread_create(&t, 0, work, 0); pthread_detach(t); }
  return n;
}
extern "C" long errors(long) { return wrong; }
extern "C" long count(long) { return rounds; }
extern "C" long child(long x) {  /* what a fork answers, and its own threads */
  pid_t pid = fork();
  if (!pid) {
    stop = wrong = 0;
    threads(2);
    for (int i = 0; i < 500; i++) if (caught(60) != 't' && caught(60) != 'o') wrong = wrong + 1;
    long answer = caught(x);
    _exit(wrong ? 255 : answer);
  }
  int status;
  waitpid(pid, &status, 0);
  return WIFEXITED(status) ? WEXITSTATUS(status) : -WTERMSIG(status);
}
"""
)
CALLS = "caught outer sum threads errors count child"
NEW = [108, ord("o"), -200, 216, ord("m")]
CHANGE = (("risky(x) + 1", "risky(x) + 101"), ("e.what()[0]", "e.what()[1]"))


def load_package(package: Any, *changes: tuple[str, str]) -> tuple[Any, PatchFile]:
    text = LOAD
    for old, new in changes:
        assert old in text
        text = text.replace(old, new)
    made = package({"a.cc": LOAD}, {"a.cc": text}, CALLS, "pie", ldflags=("-pthread",))
    return made, made.patch()


@pytest.fixture(scope="module")
def shared_load(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Package, PatchFile]]:
    with packages(tmp_path_factory.mktemp("load")) as make:
        yield load_package(make, *CHANGE)


@pytest.fixture
def load(shared_load: tuple[Package, PatchFile]) -> Iterator[tuple[Package, PatchFile]]:
    """The package under load and its patch, made once; its programs end with the test."""
    yield shared_load
    shared_load[0].end()


def test_exceptions_fly_while_patches_come_and_go(load: tuple[Package, PatchFile]) -> None:
    made, patch = load
    target = made.start()
    assert target.ask("threads", 6) == 6
    for _ in range(15):
        done = apply(target.process.pid, patch, timeout=60)
        assert done.exit_code is ExitCode.OK
        assert answers(target) == NEW
        before = target.ask("count")
        while target.ask("count") < before + 20:
            pass
        assert revert(target.process.pid, patch.id, timeout=60).exit_code is ExitCode.OK
        assert answers(target) == OLD
    assert target.ask("errors") == 0 and target.ask("count") > 500


def test_a_fork_inherits_the_unwind_tables(load: tuple[Package, PatchFile]) -> None:
    made, patch = load
    target = made.start()
    assert target.ask("threads", 2) == 2
    target.apply(patch)
    for _ in range(20):
        assert target.ask("child", 3) == 108
        assert target.ask("child", 60) == ord("o")
    assert target.ask("errors") == 0


def test_the_applier_may_be_killed_at_each_step_while_exceptions_fly(load: tuple[Package, PatchFile]) -> None:
    made, patch = load
    seen = []
    for step in range(1, 200):
        target = made.start()
        assert target.ask("threads", 3) == 3
        pid = target.process.pid
        name = killed_after(step, applying(pid, patch, timeout=60))
        if name is None:
            break
        seen.append(name)
        # one group, which switches at once
        assert all(a in (o, n) for a, o, n in zip(answers(target), OLD, NEW, strict=True)), name
        assert apply(pid, patch, timeout=60).exit_code is ExitCode.OK, name
        assert answers(target) == NEW, name
        assert target.ask("child", 60) == ord("o"), name
        assert revert(pid, patch.id, timeout=60).exit_code is ExitCode.OK, name
        assert answers(target) == OLD and target.ask("errors") == 0, name
        target.end()
    assert "unwind tables: divert the C++ runtime" in seen and seen[-1] != seen[0], seen


def test_several_patches_make_a_chain(package: Any) -> None:
    first, one = load_package(package, CHANGE[0])
    target = first.start()
    patches = [one]
    for change in (CHANGE[1], ("x > 50", "x > 40"), ("guard g(1)", "guard g(2)")):
        text = LOAD.replace(*change)
        assert text != LOAD
        first.fix = {"a.cc": text}
        first.remake_post()
        patches.append(first.patch())
    pid = target.process.pid
    assert target.ask("threads", 3) == 3
    for _ in range(3):
        for patch in patches:
            assert apply(pid, patch, timeout=60, replace=True).exit_code is ExitCode.OK
            assert target.ask("caught", 200) == -200
    for patch in reversed(patches):
        with suppress(Refused):  # one whose functions another has taken over
            revert(pid, patch.id, timeout=60)
    assert answers(target) == OLD and target.ask("errors") == 0


def test_a_chain_goes_on_when_an_applier_died_before_the_word_was_written(package: Any) -> None:
    """Each patch of the chain is placed by an applier that dies before it made the tables known; another patch comes
    between."""
    made, one = load_package(package, *CHANGE)
    made.fix = {"a.cc": LOAD.replace("x > 50", "x > 40")}
    made.remake_post()
    two = made.patch()
    target = made.start()
    pid = target.process.pid
    steps: list[str] = []
    whole = made.start()
    apply(whole.process.pid, one, on_step=steps.append)
    last_of_placing = steps.index("unwind tables: divert the C++ runtime")
    assert killed_after(last_of_placing, lambda on_step: apply(pid, one, on_step=on_step)) == "stopped"
    assert answers(target) == OLD
    assert apply(pid, two).exit_code is ExitCode.OK
    assert target.ask("caught", 45) == ord("t")
    assert apply(pid, one, replace=True).exit_code is ExitCode.OK
    assert answers(target) == NEW
    assert revert(pid, one.id).exit_code is ExitCode.OK
    assert answers(target) == OLD


def test_a_runtime_that_somebody_else_has_diverted_is_refused(load: tuple[Package, PatchFile]) -> None:
    made, patch = load
    target = made.start()
    pid = target.process.pid
    with Tracee(pid) as tracee:
        runtime = find_runtime(tracee, [])
        assert runtime is not None and not runtime.chain
        mem = os.open(f"/proc/{pid}/mem", os.O_RDWR)
        memory.write(pid, mem, Address(runtime.function + runtime.entry), encode_hook(runtime.function))
        os.close(mem)
    with pytest.raises(Refused, match="diverted, and not by a patch"):
        apply(pid, patch)


def test_a_program_with_a_runtime_of_its_own_is_refused(package: Any) -> None:
    made = package({"a.cc": THROWS}, {"a.cc": fixed(CHANGE[0])}, "caught outer sum", "pie",
                   ldflags=("-static-libgcc", "-static-libstdc++"))  # fmt: skip
    assert [r.reason for r in made.refused()] == [
        "an exception may have to pass through it, and the binary does not take the C++ runtime from a shared library"
    ]


def test_our_own_unwinder_walks_through_new_code(load: tuple[Package, PatchFile]) -> None:
    """A thread inside new code that an old word on its stack makes look as if it were inside old code, too."""
    made, patch = load
    target = made.start()
    target.apply(patch)
    record = status_record(target.process.pid)
    frames = PatchFrames(target.process.pid, record)
    for function in record.functions:
        assert frames.row(function.new).cfa_offset == 8
        assert frames.row(function.new + function.new_size - 1)
        with pytest.raises(NoFrame):
            frames.row(function.stub)


def status_record(pid: int) -> Record:
    return find_placed(pid, read_maps(pid))[0][0].record


def test_objdump_reads_the_tables_of_the_file(load: tuple[Package, PatchFile], tmp_path: Path) -> None:
    _, patch = load
    path = tmp_path / "x.suture.o"
    path.write_bytes(patch.object.data)
    text = subprocess.run(
        ["readelf", "--debug-dump=frames", str(path)], check=True, capture_output=True, text=True
    ).stdout
    assert text.count(" FDE ") >= len(patch.manifest.functions) and "Augmentation:" in text
    assert "zPLR" in text.replace('"', "").replace("'", "")
    assert "warning" not in text.lower()


ASLEEP = """
#include <unistd.h>
extern "C" long inner(long x) { if (x == 99) sleep(300); return x; }
static __attribute__((noinline)) long middle(long x) {
  volatile long pad[20];
  pad[x & 7] = x;
  return inner(x) + 1 + pad[x & 7] - x;
}
extern "C" long entry(long x) { return middle(x) + 3; }
"""


@pytest.mark.skipif(shutil.which("gdb") is None, reason="gdb is not installed")
def test_gdb_goes_through_patched_frames_when_it_is_told(package: Any, tmp_path: Path, capsys: Any) -> None:
    made = package({"a.cc": ASLEEP}, ("inner(x) + 1", "inner(x) + 2"), "entry inner", "pie")
    patch = made.patch()
    assert not patch.manifest.exceptions  # nothing here has a C++ runtime, so nothing can be thrown
    target = made.start()
    target.apply(patch)
    path = tmp_path / "x.suture.o"
    path.write_bytes(patch.object.data)
    pid = target.process.pid
    target.process.stdin.write(b"entry 99\n")
    target.process.stdin.flush()
    while b"nanosleep" not in Path(f"/proc/{pid}/wchan").read_bytes():
        pass
    capsys.readouterr()
    assert status_command(["status", str(pid), "--gdb", str(path)]) == 0
    (tmp_path / "commands").write_text(capsys.readouterr().out)
    known = backtrace(pid, "-x", str(tmp_path / "commands"))
    assert "middle(long)" in known and "__libc_start_main" in known.split("middle(long)")[1]
    between = known.split("middle(long)")[1].split("__libc_start_call_main")[0].splitlines()[1:]
    assert 1 <= len(between) <= 3, known  # entry and main, which are stripped; nothing made up
    assert "middle(long)" not in backtrace(pid)


def backtrace(pid: int, *commands: str) -> str:
    done = ["gdb", "-nx", "-batch", "-p", str(pid), *commands, "-ex", "bt"]
    return subprocess.run(done, check=True, capture_output=True, text=True).stdout
