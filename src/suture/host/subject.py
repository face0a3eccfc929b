"""A process as reports name it: what it executes, and the unit and container that it belongs to."""

from __future__ import annotations

import os
import pwd
import re

from suture.error import SutureError
from suture.process.proc import read_file
from suture.process.tracee import command_name, read_stat
from suture.report.process import Process

_MOST = 1024
_CONTAINER = re.compile(r"(?:^|[-/:])([0-9a-f]{64})(?:\.scope)?(?=/|$)")
_NAMED = re.compile(
    r"/(?:lxc\.payload\.|lxc/)([^/]+)|/machine\.slice/(?:machine-|systemd-nspawn@)([^/]+?)\.(?:scope|service)"
)
_ESCAPED = re.compile(r"\\x([0-9a-f]{2})")


def process(pid: int) -> Process:
    """Its facts; those that cannot be read are empty, and all of them for one that has ended."""
    try:
        start = read_stat(pid).start_time
        program = os.readlink(f"/proc/{pid}/exe")
    except (SutureError, OSError):
        start, program = _start(pid), ""
    unit, container = belongs_to(_control_groups(pid))
    return Process(pid, start, command_name(pid), program[:_MOST], unit, container)


def service(pid: int) -> str:
    """The systemd unit or container that a process is the first of, started by what supervises it; "" for others, and
    for sessions of users."""
    own = belongs_to(_control_groups(pid))
    unit, container = own
    if own == ("", "") or unit.startswith("session-"):
        return ""
    try:
        parent = read_stat(pid).parent
    except SutureError:
        return ""
    return "" if parent and belongs_to(_control_groups(parent)) == own else container or unit


def user(pid: int) -> tuple[str, int]:
    """(name, number) of the user that a process runs as; the name is "" where this host knows none, and the number -1
    for a process that has ended."""
    try:
        number = os.stat(f"/proc/{pid}").st_uid
    except OSError:
        return "", -1
    try:
        return pwd.getpwuid(number).pw_name, number
    except KeyError:
        return "", number


def belongs_to(text: str) -> tuple[str, str]:
    """(systemd unit, container) from a process's control groups (/proc/PID/cgroup, cgroups(7)); "" for what it is not
    in.

    A container is known by the 64 digits that Docker, Podman, containerd and CRI-O call it by, or the name that LXC and
    systemd-nspawn do.
    """
    paths = [row.split(":", 2)[2] for row in text.splitlines() if row.count(":") >= 2]
    path = max(paths, key=lambda p: (p.count("/"), len(p)), default="")[:_MOST]
    unit = next((part for part in reversed(path.split("/")) if part.endswith((".service", ".scope"))), "")
    numbers = _CONTAINER.findall(path)
    name = _NAMED.search(path)
    container = numbers[-1] if numbers else next((g for g in name.groups() if g), "") if name else ""
    return _unescaped(unit), _unescaped(container)


def _unescaped(name: str) -> str:
    r"""A unit's name as people write it: `\x2d` is a hyphen (systemd-escape(1))."""
    return _ESCAPED.sub(lambda m: chr(int(m[1], 16)), name)


def _start(pid: int) -> int:
    try:
        return read_stat(pid).start_time
    except SutureError:
        return 0


def _control_groups(pid: int) -> str:
    try:
        return read_file(pid, "cgroup").decode(errors="replace")
    except (SutureError, OSError):
        return ""
