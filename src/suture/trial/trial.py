"""Trying patches: the shipped binaries are started in a sandbox, held before `main`, patched, and let go; then patched
and reverted.

The sandbox is the package's room with the shipped packages over it, so that each file is where it is installed. A
library is loaded by a small program, which then calls what the patch replaces of what the library offers, and by every
program of the package that needs it; a program is asked for its version and its help. What each command prints and how
it ends is compared with two runs without the patch; in a third the calls of the functions that it replaces are counted.
The patch is applied from outside, by the command that hosts use.
"""

from __future__ import annotations

import json
import shlex
import shutil
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from pathlib import Path

from suture.command import CommandFailed
from suture.compile.room import INSIDE, Room
from suture.compile.tree import Tree
from suture.error import ExitCode, SutureError
from suture.make.ground import Shipped
from suture.match.run import Run
from suture.patch.file import read_patch
from suture.progress import Progress, silent
from suture.trial.calls import counted
from suture.trial.exported import CALL, Returns, exported
from suture.trial.result import Case, Seen, Trial, TrialOutcome, judge, judge_calls

_SECONDS = 20.0  # for one command, and for each wait
_HELD = 120.0  # seconds that a process waits to be patched, which takes long on a machine that has much to do
_MOST_PROGRAMS = 4  # of the package's programs that need a library
_WAYS = ("--version", "--help")
_PLAIN, _COUNTED, _PATCHED, _REVERTED = ("plain", "again"), "counted", "patched", "patched and reverted"
_OUT = f"{INSIDE}/trial"
_MARK = "SUTURE_TRIAL"

_LIMIT = f"enum {{ HELD = {_HELD * 100:.0f} }};"  # hundredths of a second
HOLD = (
    _LIMIT
    + r"""
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>
void hold(const char *place) {
  char name[4096];
  snprintf(name, sizeof name, "%s.ready", place);
  close(open(name, O_CREAT | O_WRONLY, 0644));
  snprintf(name, sizeof name, "%s.go", place);
  for (int n = 0; n < HELD && access(name, F_OK) != 0; n++) usleep(10000);
}
static char copy[4096];
__attribute__((destructor)) static void end(void) {
  char name[4096 + 8];
  if (copy[0] == 0) return;
  snprintf(name, sizeof name, "%s.done", copy);
  close(open(name, O_CREAT | O_WRONLY, 0644));
  snprintf(name, sizeof name, "%s.over", copy);
  for (int n = 0; n < 500 && access(name, F_OK) != 0; n++) usleep(10000);
}
__attribute__((constructor)) static void begin(void) {
  const char *place = getenv("SUTURE_HOLD");
  if (place == 0) return;
  snprintf(copy, sizeof copy, "%s", place);
  unsetenv("LD_PRELOAD");
  unsetenv("SUTURE_HOLD");
  hold(copy);
}
"""
)
_LOAD = (
    _LIMIT
    + CALL
    + r"""
int main(int argc, char **argv) {
  const char *place = getenv("SUTURE_PLACE");
  char name[4096];
  void *library = dlopen(argv[1], RTLD_NOW | RTLD_GLOBAL);
  if (library == 0) { puts(dlerror()); return 99; }
  for (int step = 0; step < 2; step++) {
    if (step) call_all(library, argc - 2, argv + 2);
    if (!place) continue;
    snprintf(name, sizeof name, "%s.%s", place, step ? "done" : "ready");
    close(open(name, O_CREAT | O_WRONLY, 0644));
    snprintf(name, sizeof name, "%s.%s", place, step ? "over" : "go");
    for (int n = 0; n < (step ? 500 : HELD) && access(name, F_OK) != 0; n++) usleep(10000);
  }
  fflush(stdout);
  return argc == 2 && dlclose(library) != 0;
}
"""
)


@dataclass(frozen=True)
class Candidate:
    """A patch file and the shipped binary that it is for."""

    path: Path
    shipped: Shipped


@dataclass(frozen=True)
class _Command:
    """`words` are run in the room; `variable` tells the process to wait for us, and where."""

    words: tuple[str, ...]
    variable: str
    preload: bool
    calls: Mapping[str, str] = field(default_factory=dict)  # what it calls, as `suture.trial.exported` has it

    def __str__(self) -> str:
        return shlex.join(self.words).replace(f"{_OUT}/load", "load")

    def line(self, place: str, held: bool, mark: str = "") -> str:
        """The command as a line of shell: status and output go to files beside `place`. `mark` tells its processes from
        those of other trials, in which everything has the same names."""
        env = [f"{self.variable}={place}", f"{_MARK}={mark}"] if held else []
        env += [f"LD_PRELOAD={_OUT}/hold.so"] if held and self.preload else []
        limit = _SECONDS + 10 + (_HELD if held else 0)
        words = shlex.join(["timeout", f"{limit:.0f}", "env", *env, *self.words])
        return f"s=0; {words} </dev/null >{place}.out 2>&1 || s=$?; echo $s >{place}.status\n"


def try_patches(
    tree: Tree, shipped: Sequence[Shipped], candidates: Sequence[Candidate], progress: Progress = silent
) -> tuple[Trial, ...]:
    """The trial of each patch. What cannot be run says why; nothing is raised for that."""
    if not isinstance(tree.room, Room):
        raise TypeError("a tree of a user's own has no room to try patches in")
    room = Room((*dict.fromkeys(_root(s) for s in shipped), *tree.room.layers))
    found = []
    programs = _programs(shipped)
    with tempfile.TemporaryDirectory(prefix="suture-trial-") as name:
        tools = Path(name)
        if candidates:
            _make_tools(room, tools)
        for one in candidates:
            progress(f"trying the patch of {one.shipped.file}")
            cases = [_case(room, tools, command, one, candidates) for command in _commands(one, programs)]
            found.append(Trial(one.shipped.file, tuple(cases)))
    return tuple(found)


def _make_tools(room: Room, tools: Path) -> None:
    """What holds and loads binaries, compiled in the room. Where that fails, each case says that nothing ran."""
    tools.chmod(0o755)
    for source, text in (("hold.c", HOLD), ("load.c", _LOAD)):
        (tools / source).write_text(text)
    script = f"cd {_OUT}\ngcc -shared -fPIC -O1 -o hold.so hold.c\ngcc -O1 -o load load.c -ldl\n"
    with suppress(SutureError):
        room.enter(script, outputs=[(tools, _OUT)])


def _root(shipped: Shipped) -> Path:
    """The folder that a package was extracted to."""
    return shipped.path.parents[len(Path(shipped.binary.file).parts) - 1]


def _programs(shipped: Sequence[Shipped]) -> dict[str, list[Shipped]]:
    """The shipped programs that need each library, by its SONAME."""
    found: dict[str, list[Shipped]] = {}
    for one in shipped:
        run = Run.read(one.path)
        if run.elf.section(".interp"):
            for soname in run.needed:
                found.setdefault(soname, []).append(one)
    return found


def _commands(candidate: Candidate, programs: Mapping[str, Sequence[Shipped]]) -> Iterator[_Command]:
    """What runs a binary."""
    one = candidate.shipped
    run = Run.read(one.path)
    if run.elf.section(".interp") is not None and not run.soname:
        yield from (_Command((f"/{one.binary.file}", way), "SUTURE_HOLD", True) for way in _WAYS)
        return
    load = (f"{_OUT}/load", f"/{one.binary.file}")
    yield _Command(load, "SUTURE_PLACE", False)
    names = exported(run.elf, read_patch(candidate.path).manifest)
    if names:
        yield _Command((*load, *names), "SUTURE_PLACE", False, names)
    for program in programs.get(run.soname, ())[:_MOST_PROGRAMS]:
        yield _Command((f"/{program.binary.file}", _WAYS[0]), "SUTURE_HOLD", True)


def _case(room: Room, tools: Path, command: _Command, one: Candidate, candidates: Sequence[Candidate]) -> Case:
    """A command twice without the patch, once with it, and once with it taken back."""
    with tempfile.TemporaryDirectory(prefix="suture-trial-") as name:
        out = Path(name)
        out.chmod(0o755)
        for tool in (x for x in (tools / "hold.so", tools / "load") if x.is_file() and not x.is_symlink()):
            shutil.copy2(tool, out / tool.name)
        missing = "echo what starts programs could not be compiled; exit 1"
        script = f"cd {_OUT}\n[ -x hold.so ] && [ -x load ] || {{ {missing}; }}\n" + "".join(
            command.line(f"{_OUT}/{step}", step not in _PLAIN, out.name)
            for step in (*_PLAIN, _COUNTED, "patched", "reverted")
        )
        failed: list[SutureError] = []
        fired: set[str] = set()

        def enter() -> None:
            try:
                room.enter(script, outputs=[(out, _OUT)])
            except SutureError as problem:
                failed.append(problem)

        thread = threading.Thread(target=enter)
        thread.start()
        try:
            plain = [_ended(out / step, thread) for step in _PLAIN]
            calls = _counted(out / _COUNTED, thread, one)
            changed = [
                (_PATCHED, _held(out / "patched", thread, one, candidates, fired, revert=False)),
                (_REVERTED, _held(out / "reverted", thread, one, candidates, set(), revert=True)),
            ]
        finally:
            for step in (_COUNTED, "patched", "reverted"):
                (out / f"{step}.go").touch()
                (out / f"{step}.over").touch()
            thread.join()
    if failed and not any(p.status is not None for p in plain):
        last = failed[0].output if isinstance(failed[0], CommandFailed) else failed[0].what
        return Case(str(command), TrialOutcome.NOT_RUN, (last.strip().splitlines() or ["the sandbox failed"])[-1])
    if plain[0].status == 99 and not command.preload:
        return Case(str(command), TrialOutcome.NOT_RUN, plain[0].output.decode(errors="replace").strip())
    judged = (judge_calls if command.calls else judge)(str(command), plain, changed)
    for name, number in Returns.read(plain[0].output).calls(command.calls).items():
        calls[name] = calls.get(name, 0) + number
    return replace(judged, fired=tuple(sorted(fired)), calls=calls)


def _counted(place: Path, thread: threading.Thread, one: Candidate) -> dict[str, int]:
    """How often a run without the patch calls each function that the patch replaces; nothing where it can't be
    counted."""
    _wait(place.with_name(f"{place.name}.ready"), thread)
    pid = _waiting(f"{_OUT}/{place.name}", place.parent.name)
    found: dict[str, int] = {}
    place.with_name(f"{place.name}.over").touch()
    if pid is not None:
        with counted(pid, one.shipped.path, read_patch(one.path).manifest) as counters:
            place.with_name(f"{place.name}.go").touch()
            _ended(place, thread)
            found = {name: counter() for name, counter in counters.items()}
    place.with_name(f"{place.name}.go").touch()
    return found


def _ended(place: Path, thread: threading.Thread) -> Seen:
    """What a command came to, once it has ended."""
    status = place.with_name(f"{place.name}.status")
    _wait(status, thread)
    if not status.exists() or not status.read_text().strip():
        return Seen(None, b"")
    number = int(status.read_text())
    return Seen(None if number == 124 else number, place.with_name(f"{place.name}.out").read_bytes())


def _held(
    place: Path,
    thread: threading.Thread,
    one: Candidate,
    candidates: Sequence[Candidate],
    fired: set[str],
    revert: bool,
) -> Seen | str:
    """Patch the process that waits at a place, let it go, and see what it comes to; else why it could not be patched.
    `fired` gets the tripwires that it reached before it ended."""
    _wait(place.with_name(f"{place.name}.ready"), thread)
    pid = _waiting(f"{_OUT}/{place.name}", place.parent.name)
    if pid is None:
        return "no process waits to be patched"
    loaded = _loaded(pid)
    others = [c for c in candidates if c.shipped.path != one.shipped.path and c.shipped.path.resolve().name in loaded]
    problem = _suture("apply", one.path, pid)
    if not problem:
        for other in others:
            _suture("apply", other.path, pid)
    if not problem and revert:
        problem = _suture("revert", one.path, pid)
    place.with_name(f"{place.name}.go").touch()
    if not revert and read_patch(one.path).manifest.tripwires:
        _wait_for_end(place, thread)
        fired.update(_fired(pid))
    place.with_name(f"{place.name}.over").touch()
    seen = _ended(place, thread)
    return problem or seen


def _wait(path: Path, thread: threading.Thread) -> None:
    end = time.monotonic() + _SECONDS + 10
    while not path.exists() and time.monotonic() < end and thread.is_alive():
        time.sleep(0.01)
    time.sleep(0.01)  # what writes the file may not have written it whole


def _wait_for_end(place: Path, thread: threading.Thread) -> None:
    """Until the program has done its work and waits, or has ended without that."""
    end = time.monotonic() + _SECONDS
    marks = [place.with_name(f"{place.name}.{mark}") for mark in ("done", "status")]
    while not any(m.exists() for m in marks) and time.monotonic() < end and thread.is_alive():
        time.sleep(0.01)


def _fired(pid: int) -> Iterator[str]:
    """FILE:LINE of the tripwires that a process has reached."""
    command = [sys.executable, "-m", "suture.cli", "status", str(pid), "--json"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode == ExitCode.OK:
        for row in (r for p in json.loads(done.stdout)["processes"] for r in p["tripwires"] if r["count"]):
            yield f"{row['wire']['file']}:{row['wire']['line']}"


def _waiting(token: str, mark: str) -> int | None:
    """The process whose environment says that it waits at a place, in the trial of that mark."""
    words = {f"SUTURE_HOLD={token}".encode(), f"SUTURE_PLACE={token}".encode()}
    for path in Path("/proc").glob("[0-9]*"):
        with suppress(OSError):
            own = set((path / "environ").read_bytes().split(b"\0"))
            command = (path / "cmdline").read_bytes().split(b"\0")[0]
            if (
                own & words
                and f"{_MARK}={mark}".encode() in own
                and Path(command.decode(errors="replace")).name not in {"timeout", "env", "sh"}
            ):
                return int(path.name)
    return None


def _loaded(pid: int) -> frozenset[str]:
    """Names of the files that a process has mapped, without their folders: rooms have them elsewhere."""
    try:
        rows = Path(f"/proc/{pid}/maps").read_text(errors="surrogateescape").splitlines()
    except OSError:  # it has ended
        return frozenset()
    return frozenset(row.rpartition("/")[2] for row in rows if "/" in row)


def _suture(verb: str, patch: Path, pid: int) -> str:
    """Run a verb on a process; why it failed, "" when it did not."""
    command = [sys.executable, "-m", "suture.cli", verb, str(patch), str(pid), "--json", "--timeout=10"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode == ExitCode.OK:
        return ""
    with suppress(ValueError, KeyError):
        return str(json.loads(done.stdout)["error"])
    return f"suture {verb} ended with {done.returncode}: {(done.stdout + done.stderr).strip()[:300]}"
