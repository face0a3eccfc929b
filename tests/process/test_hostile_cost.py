"""What one hostile process costs a scan: little, whatever it is; it is named where it could not be looked at; and the
honest are seen."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from suture.patch.file import PatchFile
from tests.fuzz.hostile import FLAGS, NEED_ROOT, SOURCES
from tests.process.conftest import NEW, make_patch

NOBODY = 65534
SCAN = """
import json, resource, sys, time
from pathlib import Path
from suture.patch.file import read_patch
from suture.process.see import find, status
from suture.process.see.scan import scan
pids = [int(p) for p in sys.argv[2:]]
find.list_processes = status.list_processes = lambda: list(pids)
patch = read_patch(Path(sys.argv[1]))
begin = time.monotonic()
found = scan([patch])
rows, unread = [r.pid for r in found.rows], {u.pid: u.why for u in found.unread}
carried, missed = status.status_of_all()
spent = resource.getrusage(resource.RUSAGE_CHILDREN)
own = resource.getrusage(resource.RUSAGE_SELF)
print(json.dumps({
    "rows": rows, "unread": unread, "missed": [u.pid for u in missed], "clock": time.monotonic() - begin,
    "seconds": spent.ru_utime + spent.ru_stime, "kib": spent.ru_maxrss, "own": own.ru_maxrss,
}))
"""
CLOCK = 20.0
SECONDS = 0.5  # of the processor, for scan and status together: the goal is 0.1 for each, with room for slow machines
MIB = 40


@pytest.fixture
def hostile(gcc: Callable[..., Path]) -> Iterator[Callable[[str], int]]:
    running: list[subprocess.Popen[bytes]] = []
    folder = Path(tempfile.mkdtemp())  # others may look into it, unlike tmp_path
    folder.chmod(0o755)
    own = folder / "own"
    own.mkdir()
    own.chmod(0o777)

    def start(name: str) -> int:
        program = gcc(folder / name, SOURCES[name], "-w", *FLAGS.get(name, ()))
        who = {} if name in NEED_ROOT else {"user": NOBODY, "group": NOBODY, "extra_groups": []}
        process: subprocess.Popen[bytes] = subprocess.Popen(
            [program], stdout=subprocess.PIPE, env={"TMPDIR": str(own)}, **who
        )  # type: ignore[call-overload]
        running.append(process)
        assert process.stdout is not None and process.stdout.readline() == b"up\n"
        return process.pid

    yield start
    for process in running:
        process.kill()
        process.wait()
    shutil.rmtree(folder)


def looked_at(patch: PatchFile, *pids: int) -> dict[str, Any]:
    argv = [sys.executable, "-c", SCAN, patch.object.name, *map(str, pids)]
    return dict(json.loads(subprocess.run(argv, check=True, capture_output=True).stdout))


@pytest.fixture
def honest(start: Callable[..., Any], program: Path) -> Any:
    target = start(program)
    target.ask("2")
    return target


@pytest.fixture(scope="module")
def patch(library: Path) -> PatchFile:
    """One that keeps its old code, so that static programs are searched for copies of it."""
    return make_patch(library.parent / "p-code", library, NEW, {"answer": ["answer"]}, name="answer", code=True)


NAMED = {"maps", "notes", "images", "code", "silent"}
"""Those that cannot be looked at whole."""


@pytest.mark.parametrize("name", SOURCES)
def test_one_hostile_process_costs_a_scan_little_and_the_honest_one_beside_it_is_seen(
    hostile: Callable[[str], int], honest: Any, patch: PatchFile, name: str
) -> None:
    pid = hostile(name)
    alone = looked_at(patch, honest.pid)
    both = looked_at(patch, pid, honest.pid)
    assert alone["rows"] == [honest.pid] and honest.pid in both["rows"]
    assert str(honest.pid) not in both["unread"]
    assert both["clock"] < CLOCK
    assert both["seconds"] - alone["seconds"] < SECONDS
    print(name, {k: round(both[k] - alone[k], 3) for k in ("clock", "seconds", "kib", "own")}, both["unread"])
    assert max(both["kib"] - alone["kib"], both["own"] - alone["own"]) < MIB << 10
    if name in NAMED:
        assert str(pid) in both["unread"], both
    if name == "silent":
        assert "does not return" in both["unread"][str(pid)]


def test_all_of_them_together_do_not_hide_the_honest_one(
    hostile: Callable[[str], int], honest: Any, patch: PatchFile
) -> None:
    pids = [
        hostile(name) for name in ("silent", "lease", "names", "cyclic", "headless", "births", "execs", "many_records")
    ]
    pids += [hostile("silent") for _ in range(3)]
    began = time.monotonic()
    found = looked_at(patch, *pids, honest.pid, os.getpid())
    assert honest.pid in found["rows"] and time.monotonic() - began < CLOCK
    assert len([p for p in pids if str(p) in found["unread"]]) >= 4
