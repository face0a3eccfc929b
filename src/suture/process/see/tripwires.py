"""Counters of tripwires in the patches that a process carries, read from its memory.

They are what the process says: one that is broken into can write others. A patch that took the place of another with
the same tripwire counts from nothing again, and both memories stay, so that the sum is what was counted in all.
"""

from __future__ import annotations

import struct
from collections.abc import Iterable
from dataclasses import dataclass

from suture.number import Address
from suture.patch.record import PlacedTripwire, Record
from suture.patch.tripwire import COUNTER_SIZE
from suture.process.allowance import limited
from suture.process.error import NoProcess
from suture.process.memory import memory
from suture.process.memory.maps import read_maps
from suture.process.memory.placed import MARK, find_placed
from suture.process.see.find import through_living_thread
from suture.process.tracee import Tracee, read_stat
from suture.report.attempt import CountedWire, TrippedWire
from suture.report.reason import Reason

_MARK_SIZE = 64  # the header of a record, and its own address, which its JSON begins with


@dataclass(frozen=True)
class WiredPatch:
    """One patch with tripwires: its counters lie in `size` bytes at `start`, at the offsets in `wires`; `mark` are the
    bytes at `base`, where its memory begins."""

    base: Address
    mark: bytes
    start: Address
    size: int
    wires: tuple[tuple[int, TrippedWire], ...]


@dataclass(frozen=True)
class WiredProcess:
    """A process with its patches that have tripwires. `via` is the thread that its memory is read through."""

    pid: int
    via: int
    start_time: int
    parent: int
    patches: tuple[WiredPatch, ...]


def wired(pid: int) -> WiredProcess | None:
    """The patches of a process that have tripwires; None where it has none, or has ended. Raises NoPermission, Hostile.
    For a child (`aside`)."""
    if not through_living_thread(pid, lambda _, maps: MARK in maps.raw):
        return None
    with limited(pid), Tracee(pid) as tracee:
        placed = find_placed(tracee.via, read_maps(tracee.via))[0]
        patches = tuple(_patch(tracee.via, p.record) for p in placed if p.record.tripwires)
        found = WiredProcess(pid, tracee.via, tracee.start_time, read_stat(pid).parent, patches)
        tracee.check_same()
    return found if patches else None


def counted(process: WiredProcess) -> tuple[CountedWire, ...]:
    """How often each tripwire was reached. Raises NoProcess when it is not the process that it was: it has ended, or
    executes another program. For a child (`aside`)."""
    rows: dict[TrippedWire, int] = {}
    with limited(process.pid):
        for patch in process.patches:
            data = memory.try_read(process.via, patch.start, patch.size)
            mark = memory.try_read(process.via, patch.base, len(patch.mark))
            if len(data) != patch.size or mark != patch.mark or _start(process.pid) != process.start_time:
                raise NoProcess(process.pid, "executes another program by now", reason=Reason.ENDED_DURING_WORK)
            for at, wire in patch.wires:
                rows[wire] = rows.get(wire, 0) + struct.unpack_from("<Q", data, at)[0]
    return tuple(CountedWire(wire, count) for wire, count in rows.items())


def counts(via: int, records: Iterable[Record]) -> tuple[CountedWire, ...]:
    """Tripwires of patches in the memory that is read through `via`, each with its count; those that cannot be read are
    left out."""
    found = []
    for record in records:
        for one in record.tripwires:
            data = memory.try_read(via, one.counter, COUNTER_SIZE)
            if len(data) == COUNTER_SIZE:
                found.append(CountedWire(_wire(record, one), int.from_bytes(data, "little")))
    return tuple(found)


def _start(pid: int) -> int:
    return read_stat(pid).start_time


def _patch(via: int, record: Record) -> WiredPatch:
    start = min(t.counter for t in record.tripwires)
    wires = tuple((t.counter - start, _wire(record, t)) for t in record.tripwires)
    size = max(at for at, _ in wires) + COUNTER_SIZE
    return WiredPatch(record.base, memory.read(via, record.base, _MARK_SIZE), start, size, wires)


def _wire(record: Record, t: PlacedTripwire) -> TrippedWire:
    target = (record.id, record.file, record.package, record.version)
    return TrippedWire(*target, t.file, t.line, t.function, t.condition, t.cves)
