"""Programs that execute their own file again while they run, so that what is fixed in their memory does not reach what
they execute.

Known are those whose manuals say so. Others are told by a child that has started from the same file and not by fork
alone: the kernel gives each execve(2) places of its own (getauxval(3), AT_RANDOM), and a fork inherits its parent's.
"""

from __future__ import annotations

from collections.abc import Sequence, Set

from suture.error import SutureError
from suture.number import Address
from suture.process.memory.maps import Mapping
from suture.process.proc import read_auxv
from suture.process.see.find import Found
from suture.process.tracee import read_stat

_AT_ENTRY = 9
_KNOWN = {
    # sshd.c: a listening server executes itself for each connection unless started with -r; from 9.8 on it executes
    # sshd-session
    "sshd": "a listening sshd executes a program from disk for each connection",
}


def executes_itself(processes: Sequence[Found], pids: Set[int]) -> dict[int, str]:
    """For those of `pids` that do: how that is known, in words."""
    seen: dict[int, tuple[dict[int, int], Mapping, int]] = {}
    for process in processes:
        if process.pid not in pids:
            continue
        try:
            auxv = read_auxv(process.via)
            entry = process.maps.at(Address(auxv.get(_AT_ENTRY, 0)))
            if entry is not None and entry.inode:
                seen[process.pid] = (auxv, entry, read_stat(process.pid).parent)
        except SutureError:
            continue
    found: dict[int, str] = {}
    for pid, (auxv, program, parent) in seen.items():
        name = program.path.rsplit("/", 1)[-1]
        if name in _KNOWN:
            found[pid] = _KNOWN[name]
        above = seen.get(parent)
        if above is not None and _is_same(above[1], program) and above[0] != auxv:
            found.setdefault(parent, f"it has executed its own file anew (pid {pid})")
    return found


def _is_same(a: Mapping, b: Mapping) -> bool:
    return (a.device, a.inode) == (b.device, b.inode)
