"""What outside a process keeps it from being stopped or from getting memory for a patch: told by name, with what lifts
it.

Control groups (cgroups(7): versions 1 and 2), resource limits (getrlimit(2)), sysctls of vm, and children of vfork.
"""

from __future__ import annotations

import errno
import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from suture.error import Refused
from suture.process.error import Busy, CallFailed, NoPermission, NoProcess
from suture.process.proc import read_file
from suture.process.tracee import Tracee, read_stat
from suture.report.reason import Reason

_MOST_LEVELS = 64
_PAGE = 4096
_SPARE_PAGES = 32  # page tables, kernel objects and copied pages of code, generously
_NONE = 1 << 62
"""No limit: version 1 writes a number near 2^63."""


@dataclass(frozen=True)
class Obstacle:
    """What is in the way, as the rest of a sentence about the process, and what a person can do."""

    what: str
    remedy: str
    reason: Reason


@contextmanager
def naming_obstacles(tracee: Tracee) -> Iterator[None]:
    """Inside, Busy says when the true cause is a frozen control group."""
    try:
        yield
    except Busy as problem:
        found = frozen(tracee.pid)
        if found is None:
            raise
        raise Busy(f"pid {tracee.pid}: {found.what}", found.remedy, reason=found.reason) from problem


def frozen(pid: int) -> Obstacle | None:
    """The control group that keeps a process frozen."""
    for group in _groups(pid, "freezer"):
        for name, value, thaw in (("cgroup.freeze", "1", "0"), ("freezer.self_freezing", "1", "THAWED")):
            if _read(group / name) == value:
                file = group / ("cgroup.freeze" if thaw == "0" else "freezer.state")
                return Obstacle(
                    f"is frozen by its control group {group}",
                    f"thaw it: echo {thaw} > {file}",
                    reason=Reason.BUSY_FROZEN,
                )
    return None


def refuse_without_memory(tracee: Tracee, size: int) -> None:
    """Raises Refused when the process's memory control group has not `size` bytes left: the kernel would kill one of
    its processes.

    What can be reclaimed counts as left: the page cache, and with enough swap everything.
    """
    need = size + _SPARE_PAGES * _PAGE
    for group in _groups(tracee.pid, "memory"):
        for most, now in (("memory.max", "memory.current"), ("memory.limit_in_bytes", "memory.usage_in_bytes")):
            limit = _number(_read(group / most))
            if limit is None or limit >= _NONE:
                continue
            used = _number(_read(group / now))
            if used is None or limit - used >= need:
                continue
            left = limit - used + _reclaimable(group)
            if left < need and _meminfo("SwapFree") < need:
                raise Refused(
                    f"pid {tracee.pid}: its control group {group} has {max(left, 0) >> 10} KiB of memory left, the "
                    f"patch may need {need >> 10}, and at the limit the kernel kills",
                    f"raise the limit: echo {limit + 4 * need} > {group / most}",
                    reason=Reason.LIMIT_MEMORY,
                )


def why_uninterruptible(pid: int, tid: int) -> str:
    """Why a thread in uninterruptible sleep is so, as far as it can be told."""
    found = frozen(pid)
    if found is not None:
        return found.what
    for child in _children(pid, tid):
        # after vfork, until execve or exit, the parent waits and both have one memory (vfork(2))
        if os.path.exists(f"/proc/{child}"):
            return (
                f"sleeps in the kernel until its child {child} has executed a program or ended (vfork), or for input "
                "or output, and cannot be interrupted"
            )
    return "sleeps in the kernel and cannot be interrupted (vfork or input/output)"


def why_no_memory(tracee: Tracee, problem: OSError, size: int) -> Obstacle:
    """Why a call that makes room for a patch has failed."""
    pid = tracee.pid
    call = problem.call if isinstance(problem, CallFailed) else ""
    if problem.errno == errno.EMFILE:
        return Obstacle(
            "has as many open files as it may (RLIMIT_NOFILE)", _raise_limit(pid, "nofile"), reason=Reason.LIMIT_FILES
        )
    if problem.errno == errno.ENFILE:
        return Obstacle(
            "finds the system's table of open files full",
            "raise it: sysctl --write fs.file-max=NUMBER",
            reason=Reason.LIMIT_FILES,
        )
    if problem.errno == errno.ENOMEM and call == "mmap":
        return _no_address_space(tracee, size)
    if problem.errno in (errno.EPERM, errno.EACCES):
        policy = (
            "vm.memfd_noexec or a security module" if call == "memfd_create" else "a security module (SELinux execmem)"
        )
        return Obstacle(
            f"may not make memory for the patch ({call or 'fcntl'}: {problem.strerror}): {policy} forbids it",
            "see sysctl vm.memfd_noexec, and the security module's log: journalctl --dmesg --grep 'avc|apparmor'",
            reason=Reason.FORBIDDEN,
        )
    return Obstacle(
        f"memory for the patch cannot be had: {problem.strerror}",
        "see what limits it: grep . /proc/PID/limits /proc/PID/cgroup; else try again",
        reason=Reason.NO_MEMORY,
    )


def _no_address_space(tracee: Tracee, size: int) -> Obstacle:
    pid = tracee.pid
    limits, used = _limits(pid), _status(tracee)
    if used.get("VmSize", 0) + size > limits.get("Max address space", _NONE):
        return Obstacle(
            "has no address space left for the patch (RLIMIT_AS)", _raise_limit(pid, "as"), reason=Reason.LIMIT_SPACE
        )
    if used.get("VmData", 0) + size > limits.get("Max data size", _NONE):
        return Obstacle(
            "has no data segment left for the patch (RLIMIT_DATA)", _raise_limit(pid, "data"), reason=Reason.LIMIT_SPACE
        )
    most = _number(_read(Path("/proc/sys/vm/max_map_count"))) or _NONE
    with open(f"/proc/{tracee.via}/maps", "rb", buffering=0) as maps:
        lines = sum(part.count(b"\n") for part in iter(lambda: maps.read(1 << 16), b""))
    if lines + 2 >= most:
        return Obstacle(
            f"has {lines} mappings, as many as it may (vm.max_map_count)",
            f"raise the limit: sysctl --write vm.max_map_count={most + 1024}",
            reason=Reason.LIMIT_MAPPINGS,
        )
    if _read(Path("/proc/sys/vm/overcommit_memory")) == "2":
        return Obstacle(
            "finds no memory that the kernel would promise (vm.overcommit_memory=2)",
            "raise vm.overcommit_ratio, or end what reserves memory: grep Commit /proc/meminfo",
            reason=Reason.NO_MEMORY,
        )
    return Obstacle(
        "finds no memory (mmap: Cannot allocate memory)",
        "see free and the process's control group",
        reason=Reason.NO_MEMORY,
    )


def _raise_limit(pid: int, name: str) -> str:
    return f"raise it, and put it back afterwards: prlimit --pid {pid} --{name}=unlimited"


def _groups(pid: int, controller: str) -> Iterator[Path]:
    """Folders of the control groups of a process that matter to a controller, each with those above it."""
    try:
        rows = read_file(pid, "cgroup").decode(errors="surrogateescape").splitlines()
    except (NoProcess, NoPermission):
        return
    mounts = _mounts()
    for row in rows:
        _, controllers, path = row.split(":", 2)
        mount = mounts.get("" if not controllers else controller) if controllers in ("", controller) else None
        if controllers and controller in controllers.split(","):
            mount = mounts.get(controller)
        if mount is None or ".." in path.split("/"):  # outside our control group namespace
            continue
        group = mount / path.lstrip("/")
        for _ in range(_MOST_LEVELS):
            yield group
            if group == mount:
                break
            group = group.parent


@cache
def _mounts() -> dict[str, Path]:
    """Where control groups are mounted, by controller; "" for version 2."""
    found: dict[str, Path] = {}
    for line in (_read(Path("/proc/self/mounts")) or "").splitlines():
        _, where, kind, options, *_ = line.split(" ")
        if kind == "cgroup2":
            found.setdefault("", Path(where))
        elif kind == "cgroup":
            for option in options.split(","):
                found.setdefault(option, Path(where))
    return found


def _reclaimable(group: Path) -> int:
    rows = [line.split() for line in (_read(group / "memory.stat") or "").splitlines()]
    values = {row[0]: int(row[1]) for row in rows if len(row) == 2 and row[1].isdigit()}
    prefix = "total_" if "total_inactive_file" in values else ""
    return values.get(prefix + "inactive_file", 0) + values.get(prefix + "active_file", 0)


def _children(pid: int, tid: int) -> list[int]:
    try:
        names = read_file(pid, f"task/{tid}/children").split()
    except (NoProcess, NoPermission, OSError):
        return []
    return [int(n) for n in names if _is_alive(int(n))]


def _is_alive(pid: int) -> bool:
    try:
        return read_stat(pid).state not in "ZX"
    except NoProcess:
        return False


def _limits(pid: int) -> dict[str, int]:
    """Soft limits by the kernel's names for them; those without one are left out."""
    found = {}
    for line in read_file(pid, "limits").decode().splitlines():
        value = _number(line[26:].split()[0]) if len(line) > 26 else None
        if value is not None:
            found[line[:26].strip()] = value
    return found


def _status(tracee: Tracee) -> dict[str, int]:
    """Sizes in /proc/PID/status, in bytes."""
    rows = (line.split() for line in read_file(tracee.via, "status").decode(errors="replace").splitlines())
    return {r[0].rstrip(":"): int(r[1]) << 10 for r in rows if len(r) == 3 and r[2] == "kB"}


def _meminfo(name: str) -> int:
    for line in (_read(Path("/proc/meminfo")) or "").splitlines():
        if line.startswith(name + ":"):
            return int(line.split()[1]) << 10
    return 0


def _number(text: str | None) -> int | None:
    return int(text) if text is not None and text.isdigit() else None


def _read(path: Path) -> str | None:
    try:
        return path.read_text(errors="replace").strip()
    except OSError:
        return None
