"""What keeps a process from getting memory or from being stopped is named, with what lifts it; and nothing in the
process has changed."""

from __future__ import annotations

import errno
import os
import resource
import subprocess
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

from suture.error import Refused
from suture.patch.file import PatchFile
from suture.process import proc
from suture.process.change.apply import apply
from suture.process.change.revert import revert
from suture.process.error import Busy, CallFailed
from suture.process.stop import obstacle
from suture.process.tracee import Tracee

SOURCE = r"""
#define _GNU_SOURCE
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <unistd.h>
__attribute__((noinline)) int f(int x) { __asm__ volatile(""); return x * 3 + 1; }
int main(int n, char **v) {
  char line[64];
  setvbuf(stdout, 0, _IOLBF, 0);
  while (fgets(line, sizeof line, stdin)) {
    if (line[0] == 'm') { long i = 0; while (mmap(0,
        4096, ++i & 1 ? PROT_READ : PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0) != MAP_FAILED) ; }
    if (line[0] == 'o') while (open("/dev/null", O_RDONLY) >= 0) ;
    printf("%d\n", f(7));
  }
}
"""


@pytest.fixture(scope="module")
def built(gcc: Any, make_patch: Any, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, PatchFile]:
    folder = tmp_path_factory.mktemp("obstacle")
    program = gcc(folder / "target", SOURCE, "-w")
    return program, make_patch(folder, program, "int f(int x) { return 1000; }", {"f": ["f"]})


def size_of(pid: int, field: str) -> int:
    rows = dict(line.split(":", 1) for line in Path(f"/proc/{pid}/status").read_text().splitlines())
    return int(rows[field].split()[0]) << 10


LIMITS = {"as": (resource.RLIMIT_AS, "VmSize"), "data": (resource.RLIMIT_DATA, "VmData")}


@pytest.mark.parametrize("name", LIMITS)
def test_a_limit_on_memory_is_named_and_what_raises_it_helps(
    start: Any, built: tuple[Path, PatchFile], name: str
) -> None:
    program, patch = built
    target = start(program)
    assert target.ask() == "22"
    number, field = LIMITS[name]
    before = Path(f"/proc/{target.pid}/maps").read_text()
    resource.prlimit(target.pid, number, (size_of(target.pid, field), resource.RLIM_INFINITY))
    with pytest.raises(Refused, match=f"RLIMIT_{name.upper()}") as caught:
        apply(target.pid, patch)
    assert Path(f"/proc/{target.pid}/maps").read_text() == before
    assert target.ask() == "22"
    subprocess.run(caught.value.remedy.split(": ")[1].split(), check=True)
    apply(target.pid, patch)
    assert target.ask() == "1000"


def test_a_full_table_of_descriptors_is_named(start: Any, built: tuple[Path, PatchFile]) -> None:
    program, patch = built
    target = start(program)
    resource.prlimit(target.pid, resource.RLIMIT_NOFILE, (64, 4096))
    assert target.ask("o") == "22"
    with pytest.raises(Refused, match="RLIMIT_NOFILE"):
        apply(target.pid, patch)
    assert target.ask() == "22"


def test_a_full_list_of_mappings_is_named(start: Any, built: tuple[Path, PatchFile]) -> None:
    program, patch = built
    target = start(program)
    assert target.ask("m") == "22"
    with pytest.raises(Refused, match=r"vm\.max_map_count"):
        apply(target.pid, patch)
    assert target.ask() == "22"


def test_a_policy_that_no_memfd_is_executable_is_kept(
    start: Any, built: tuple[Path, PatchFile], eventually: Any
) -> None:
    """vm.memfd_noexec (Linux 6.3) belongs to a PID namespace; without it the same is done."""
    program, patch = built
    within = "if [ -e /proc/sys/vm/memfd_noexec ]; then echo 2 > /proc/sys/vm/memfd_noexec; fi; exec " + str(program)
    target = start("unshare", "--pid", "--fork", "--mount-proc", "sh", "-c", within)
    assert target.ask() == "22"
    pid = int(Path(f"/proc/{target.pid}/task/{target.pid}/children").read_text())
    apply(pid, patch)
    assert target.ask() == "1000"
    revert(pid, patch.id)
    assert target.ask() == "22"


def freezers() -> Iterator[tuple[Path, str, str, str]]:
    """Where this machine can freeze: folder, file, what freezes, what thaws."""
    mounts = obstacle._mounts()
    if "freezer" in mounts:
        yield mounts["freezer"], "freezer.state", "FROZEN", "THAWED"
    if "" in mounts:
        yield mounts[""], "cgroup.freeze", "1", "0"


def test_a_frozen_control_group_is_named_and_what_thaws_it_helps(
    start: Any, built: tuple[Path, PatchFile], eventually: Any
) -> None:
    program, patch = built
    tried = 0
    for mount, file, freeze, thaw in freezers():
        group = mount / f"suture-test-{os.getpid()}"
        group.mkdir()
        target = start(program)
        try:
            assert target.ask() == "22"
            (group / "cgroup.procs").write_text(str(target.pid))
            (group / file).write_text(freeze)
            time.sleep(0.2)
            with pytest.raises(Busy, match=f"frozen by its control group {group}") as caught:
                apply(target.pid, patch, timeout=0.5)
            subprocess.run(["sh", "-c", caught.value.remedy.split(": ")[1]], check=True)
            apply(target.pid, patch)
            assert target.ask() == "1000"
            tried += 1
        finally:
            with suppress(OSError):
                (group / file).write_text(thaw)
            target.process.kill()
            target.process.wait()
            eventually(lambda group=group: _removed(group))
    assert tried


def _removed(group: Path) -> bool:
    try:
        group.rmdir()
    except OSError:
        return False
    return True


@pytest.mark.parametrize(
    ("files", "refused"),
    [
        ({"memory.max": 1 << 20, "memory.current": (1 << 20) - 4096, "memory.stat": "inactive_file 0"}, True),
        ({"memory.max": 1 << 20, "memory.current": (1 << 20) - 4096, "memory.stat": "inactive_file 900000"}, False),
        ({"memory.max": "max", "memory.current": 1 << 40}, False),
        (
            {
                "memory.limit_in_bytes": 1 << 20,
                "memory.usage_in_bytes": 1 << 20,
                "memory.stat": "total_inactive_file 0",
            },
            True,
        ),
        ({"memory.limit_in_bytes": (1 << 63) - 4096, "memory.usage_in_bytes": 1 << 40}, False),
    ],
)
@pytest.mark.parametrize("above", [False, True])
def test_a_control_group_without_memory_is_refused_before_anything_is_touched(
    start: Any,
    built: tuple[Path, PatchFile],
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
    files: dict[str, object],
    refused: bool,
    above: bool,
) -> None:
    """The kernel would kill one of the group's processes for a page too many; a patch copies some."""
    program, patch = built
    target = start(program)
    assert target.ask() == "22"
    group = tmp_path / "service"
    (group / "worker").mkdir(parents=True)
    for name, value in files.items():
        (group / name if above else group / "worker" / name).write_text(f"{value}\n")

    original = proc.read_file
    monkeypatch.setattr(
        obstacle, "read_file", lambda pid, name: b"0::/service/worker\n" if name == "cgroup" else original(pid, name)
    )
    monkeypatch.setattr(obstacle, "_mounts", lambda: {"": tmp_path})
    monkeypatch.setattr(obstacle, "_meminfo", lambda _: 0)
    with Tracee(target.pid) as tracee:
        assert list(obstacle._groups(tracee.pid, "memory"))[:2] == [group / "worker", group]
    if refused:
        with pytest.raises(Refused, match=str(group)) as caught:
            apply(target.pid, patch)
        assert "memory.max" in caught.value.remedy or "limit_in_bytes" in caught.value.remedy
        assert "memfd" not in Path(f"/proc/{target.pid}/maps").read_text()
    else:
        apply(target.pid, patch)
        assert target.ask() == "1000"


@pytest.mark.parametrize(
    ("number", "call", "settings", "named"),
    [
        (errno.ENOMEM, "mmap", {"/proc/sys/vm/overcommit_memory": "2"}, "vm.overcommit_memory=2"),
        (errno.ENOMEM, "mmap", {"/proc/sys/vm/max_map_count": "5"}, "vm.max_map_count"),
        (errno.ENFILE, "memfd_create", {}, "table of open files"),
        (errno.EACCES, "memfd_create", {}, "vm.memfd_noexec"),
        (errno.EACCES, "mmap", {}, "security module"),
        (errno.ENOSPC, "", {}, "No space left"),
    ],
)
def test_each_reason_is_told_from_the_others(
    monkeypatch: pytest.MonkeyPatch, number: int, call: str, settings: dict[str, str], named: str
) -> None:
    monkeypatch.setattr(obstacle, "_read", lambda path: settings.get(str(path)))
    problem = CallFailed(number, call, os.getpid()) if call else OSError(number, os.strerror(number))
    with Tracee(os.getpid()) as tracee:
        found = obstacle.why_no_memory(tracee, problem, 8192)
    assert named in found.what
    assert found.remedy
