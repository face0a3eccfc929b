"""A process that starts with a guarded file never executes its old code; whoever opens the file for something else is
let go; and nobody waits for a guard that has stalled or died."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest

from suture.patch.file import PatchFile
from suture.process.start.guard import Guard, Start
from suture.process.start.opening import Openings
from suture.process.start.watchdog import STALLED_SECONDS
from suture.report.start import StartEnd

LIBRARY = "int base = 1; __attribute__((noinline)) int answer(void) { return base; }"
PROGRAM = r"""
#include <stdio.h>
int answer(void);
__attribute__((constructor)) static void early(void) { printf("%d ", answer()); }
int main(void) { printf("%d\n", answer()); return 0; }
"""
OPENS = r"""
#include <dlfcn.h>
#include <stdio.h>
int main(int c, char **v) {
  void *h = dlopen(v[1], RTLD_NOW);
  int (*answer)(void) = h ? (int (*)(void))dlsym(h, "answer") : 0;
  printf("%d\n", answer ? answer() : -1);
  return 0;
}
"""


@dataclass(frozen=True)
class Built:
    library: Path
    program: Path
    patch: PatchFile


@pytest.fixture
def built(gcc: Callable[..., Path], make_patch: Callable[..., PatchFile], tmp_path: Path) -> Built:
    library = gcc(tmp_path / "libanswer.so", LIBRARY, "-shared", "-fPIC")
    program = gcc(tmp_path / "program", PROGRAM, f"-L{tmp_path}", "-lanswer", f"-Wl,-rpath,{tmp_path}")
    return Built(
        library, program, make_patch(tmp_path, library, "int answer(void) { return 2; }", {"answer": ["answer"]})
    )


@contextmanager
def guarded(built: Built, more: Mapping[Path, PatchFile] | None = None) -> Iterator[list[Start]]:
    """In a thread of its own, which is the tracer; what came of each opening."""
    told: list[Start] = []
    over, ready = threading.Event(), threading.Event()

    def hold() -> None:
        with Openings() as openings:
            files = {built.library: built.patch, **(more or {})}
            guard = Guard(openings, {openings.add(str(file)): [patch] for file, patch in files.items()})
            ready.set()
            guard.run(told.append, lambda: not over.is_set())

    holder = threading.Thread(target=hold)
    holder.start()
    ready.wait()
    try:
        yield told
    finally:
        over.set()
        holder.join()


def said(*command: str | Path) -> str:
    """What it prints. By way of a shell: until execve is through, this process has the interpreter and answers
    nobody."""
    through = ["sh", "-c", 'exec "$0" "$@"', *map(str, command)]
    return subprocess.run(through, check=False, capture_output=True, text=True, timeout=30).stdout.strip()


def test_the_first_call_is_of_the_new_code_constructors_too(built: Built) -> None:
    assert said(built.program) == "1 1"
    with guarded(built) as told:
        assert [said(built.program) for _ in range(20)] == ["2 2"] * 20
    assert [(s.command, s.end, s.error) for s in told] == [("program", StartEnd.PATCHED, "")] * 20
    assert said(built.program) == "1 1", "the file is as it was"


def test_in_other_namespaces_and_under_another_name_too(built: Built, tmp_path: Path) -> None:
    with guarded(built) as told:
        assert said("unshare", "--user", "--map-root-user", "--mount", "--pid", "--fork", built.program) == "2 2"
        (tmp_path / "other").mkdir()
        os.link(built.library, tmp_path / "other" / "libanswer.so")
        assert said("env", f"LD_LIBRARY_PATH={tmp_path / 'other'}", built.program) == "2 2"
    assert [s.end for s in told] == [StartEnd.PATCHED] * 2


def test_a_library_that_is_opened_later_is_patched_before_dlopen_returns(
    built: Built, gcc: Callable[..., Path], tmp_path: Path
) -> None:
    opens = gcc(tmp_path / "opens", OPENS)
    assert said(opens, built.library) == "1"
    with guarded(built) as told:
        assert [said(opens, built.library) for _ in range(5)] == ["2"] * 5
    assert [s.end for s in told] == [StartEnd.PATCHED] * 5


def test_a_program_itself_starts_without_delay_and_is_told(
    gcc: Callable[..., Path], make_patch: Callable[..., PatchFile], tmp_path: Path
) -> None:
    program = gcc(tmp_path / "program", PROGRAM.replace("int answer(void);", LIBRARY))
    patch = make_patch(tmp_path, program, "int answer(void) { return 2; }", {"answer": ["answer"]})
    with guarded(Built(program, program, patch)) as told:
        begin = time.monotonic()
        assert [said(program) for _ in range(5)] == ["1 1"] * 5
        assert time.monotonic() - begin < 5 * STALLED_SECONDS + 2
    assert [s.end for s in told] == [StartEnd.EXECUTED] * 5


def test_who_does_not_load_it_is_let_go_at_once(built: Built, tmp_path: Path) -> None:
    with guarded(built) as told:
        library = str(built.library)
        mapping = f"import mmap; f = open({library!r}, 'rb'); mmap.mmap(f.fileno(), 0, prot=1)"
        for command in (
            ["cp", library, str(tmp_path / "copy")],
            ["cat", library],
            ["readelf", "-h", library],
            [sys.executable, "-c", mapping],
        ):
            assert subprocess.run(command, check=False, capture_output=True, timeout=30).returncode == 0
    assert told and {s.end for s in told} == {StartEnd.NOT_LOADED}
    assert max(s.stops for s in told) < 12
    assert (tmp_path / "copy").read_bytes() == built.library.read_bytes()


def test_many_at_once(built: Built) -> None:
    with guarded(built) as told:
        started = [subprocess.Popen([built.program], stdout=subprocess.PIPE, text=True) for _ in range(40)]
        assert [p.communicate(timeout=60)[0].strip() for p in started] == ["2 2"] * 40
    assert [s.end for s in told] == [StartEnd.PATCHED] * 40


def test_signals_meanwhile_are_not_lost(built: Built, gcc: Callable[..., Path], tmp_path: Path) -> None:
    """A timer that goes off all the time, from before the library is opened."""
    headers = "#include <stdio.h>\n#include <signal.h>\n#include <sys/time.h>"
    source = OPENS.replace("#include <stdio.h>", headers).replace(
        "void *h =",
        "signal(SIGALRM, count); struct itimerval t = {{0, 3000}, {0, 3000}}; setitimer(ITIMER_REAL, &t, 0); void *h =",
    ).replace("int main", "static volatile int n; static void count(int s) { n++; }\nint main")  # fmt: skip
    opens = gcc(tmp_path / "opens", source)
    with guarded(built) as told:
        assert [said(opens, built.library) for _ in range(10)] == ["2"] * 10
    assert [s.end for s in told] == [StartEnd.PATCHED] * 10


def test_what_cannot_be_patched_starts_with_the_old_code_and_is_told(
    built: Built, gcc: Callable[..., Path], make_patch: Callable[..., PatchFile], tmp_path: Path
) -> None:
    (tmp_path / "other").mkdir()
    library = gcc(tmp_path / "other" / "libanswer.so", LIBRARY.replace("1", "3"), "-shared", "-fPIC")
    with guarded(Built(library, built.program, built.patch)) as told:
        assert said("env", f"LD_LIBRARY_PATH={tmp_path / 'other'}", built.program) == "3 3"
    assert [s.end for s in told] == [StartEnd.FAILED]
    assert told[0].error


def _guard_of_its_own(built: Built) -> tuple[int, int]:
    """A guard in a child, and the read end of a pipe that tells when it is ready."""
    told, tell = os.pipe()
    if child := os.fork():
        os.close(tell)
        assert os.read(told, 1) == b"."
        return child, told
    with Openings() as openings:
        guard = Guard(openings, {openings.add(str(built.library)): [built.patch]})
        os.write(tell, b".")
        guard.run(lambda s: None, lambda: True)
    os._exit(0)


def test_a_guard_that_stalls_keeps_nobody_waiting(built: Built) -> None:
    child, told = _guard_of_its_own(built)
    try:
        assert said(built.program) == "2 2"
        os.kill(child, signal.SIGSTOP)
        time.sleep(0.05)
        begin = time.monotonic()
        assert said(built.program) == "1 1"
        assert time.monotonic() - begin < STALLED_SECONDS + 3
        os.kill(child, signal.SIGCONT)
        deadline = time.monotonic() + 20
        while said(built.program) != "2 2":
            assert time.monotonic() < deadline
    finally:
        os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)
        os.close(told)


def test_a_guard_that_is_killed_at_any_moment_leaves_programs_that_start(built: Built) -> None:
    for n in range(15):
        child, told = _guard_of_its_own(built)
        program = subprocess.Popen([built.program], stdout=subprocess.PIPE, text=True)
        time.sleep(n * 0.002)
        os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)
        os.close(told)
        assert program.communicate(timeout=20)[0].strip() in ("1 1", "2 2")
        assert program.returncode == 0
    assert said(built.program) == "1 1", "nobody is asked any more"


def test_two_files_of_one_fix_are_both_patched_before_the_first_instruction(
    built: Built, gcc: Callable[..., Path], make_patch: Callable[..., PatchFile], tmp_path: Path
) -> None:
    other = gcc(
        tmp_path / "libother.so",
        "__attribute__((noinline)) int other(int x) { return x * 100000 + 5; }",
        "-shared",
        "-fPIC",
    )
    source = PROGRAM.replace("int answer(void);", "int answer(void); int other(int);").replace(
        '"%d\\n", answer()', '"%d %d\\n", answer(), other(0)'
    )
    flags = (f"-L{tmp_path}", "-lanswer", "-lother", f"-Wl,-rpath,{tmp_path}")
    program = gcc(tmp_path / "both", source, *flags)
    second = make_patch(tmp_path / "other", other, "int other(int x) { return 6; }", {"other": ["other"]})
    assert said(program) == "1 1 5"
    with guarded(built, {other: second}) as starts:
        for _ in range(5):
            assert said(program) == "2 2 6"
    assert {s.end for s in starts} == {StartEnd.PATCHED} and len(starts) == 10
