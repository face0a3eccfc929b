"""Live patches that a process carries: found in its maps by their memfd's name, told by their record, and what is true
of them now.

What a patch's functions do is read from the entries of the old functions: a jump leads to a patch's function, or to a
switch stub whose byte decides. Nothing is remembered anywhere else.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from collections.abc import Mapping as Table
from dataclasses import dataclass
from enum import Enum

from suture.number import Address
from suture.patch.finder import CONTINUATION_SIZE, FINDER_SIZE, ROW
from suture.patch.record import HEADER, BadRecord, PlacedFunction, PlacedGroup, Record, body_length, decode, readable
from suture.patch.tripwire import COUNTER_SIZE, MOST_TRIPWIRES
from suture.patch.x86_64 import JUMP_SIZE, STUB_SIZE, UNUSED, decode_stub, jump_target
from suture.process.memory import memory
from suture.process.memory.maps import Mapping, Maps

MARK = b"/memfd:suture:"
"""What the name of a patch's memory begins with, in the list of mappings."""
_NAME = re.compile(MARK + rb"([0-9a-f]{16})(?: \(deleted\))?\Z")
_MOST_PATCHES = 512
Read = Callable[[Address, int], bytes]
"""(address, size) to bytes, fewer or none where nothing is mapped."""


@dataclass(frozen=True)
class Placed:
    """A patch's memory in a process and its record."""

    record: Record
    text: Mapping
    data: Mapping


@dataclass(frozen=True)
class Remains:
    """A mapping with a patch's name but without what belongs to it: an applier died, or the process pretends."""

    id: str
    mapping: Mapping
    why: str


class State(Enum):
    """What is true of a group, or of a patch as a whole."""

    APPLIED = "applied"
    REVERTED = "reverted"
    NEVER_APPLIED = "never applied"  # placed, and not once switched: its functions were in use
    REPLACED = "replaced"  # some or all of its functions belong to another patch now
    PARTIAL = "partial"  # of a patch: some groups are applied
    INTERRUPTED = (
        "interrupted"  # an applier died half-way; the process is in the old or in the new state, see `effective`
    )
    UNMAPPED = "unmapped"  # the image that it was for is gone (dlclose), or another stands there
    DAMAGED = "damaged"  # entries that no patch has written


@dataclass(frozen=True)
class Route:
    """Where calls of one old function lead: `target` is the address reached (the old function's own for the original
    code).

    `is_final`: the entry leads there without a switch stub. `owner` is the id of the patch whose function it is, "" for
    the original.
    """

    code: bytes
    target: Address
    is_final: bool
    owner: str


def find_placed(pid: int, maps: Maps) -> tuple[list[Placed], list[Remains]]:
    """All patches in a process, bounded, and what looks like one but is not whole. Reads the memory of `pid`."""
    placed: list[Placed] = []
    remains: list[Remains] = []
    if MARK not in maps.raw:
        return placed, remains
    rows = maps.mappings
    claimed: set[int] = set()
    for index, row in enumerate(rows):
        found = _NAME.match(row.name)
        if not found or index in claimed:
            continue
        if len(placed) + len(remains) >= _MOST_PATCHES:
            break
        identity = found[1].decode()
        if not row.executable:
            remains.append(Remains(identity, row, "no code with it"))
            continue
        following = rows[index + 1] if index + 1 < len(rows) else None
        record = _read_record(pid, row, identity)
        if isinstance(record, str):
            remains.append(Remains(identity, row, record))
        elif row.writable or following is None or following.name != row.name or following.start != row.end:
            remains.append(Remains(identity, row, "no data with it"))
        else:
            claimed.add(index + 1)
            placed.append(Placed(record, row, following))
    return placed, remains


def _read_record(pid: int, text: Mapping, identity: str) -> Record | str:
    size = text.end - text.start
    try:
        length = HEADER.size + body_length(memory.try_read(pid, text.start, HEADER.size))
        if length > size:
            return "a record longer than its mapping"
        record = decode(memory.try_read(pid, text.start, length))
    except BadRecord as problem:
        return f"no record: {problem}"
    return _contradiction(record, identity, text.start, size) or record


def _contradiction(record: Record, identity: str, base: Address, text_size: int) -> str:
    """What keeps a record from being that of a patch placed here; empty when nothing does."""
    if record.id != identity or record.base != base or record.text_size != text_size:
        return "a record that contradicts the mapping"
    if not _is_coherent(record):
        return "a record with impossible addresses"
    return ""


def check_revertible(text: bytes, written: Record) -> None:
    """Raises BadRecord for a patch's text, about to be placed, whose record could not be read again to revert it."""
    problem = _contradiction(readable(text), written.id, written.base, len(text))
    if problem:
        raise BadRecord(problem)


def _is_coherent(record: Record) -> bool:
    """Every address of the patch lies in the patch, none of an old function does."""
    text_end = record.base + record.text_size
    data_end = text_end + record.data_size
    old: set[Address] = set()
    for group in record.groups:
        if not group.functions or not text_end <= group.switch < data_end:
            return False
        for f in group.functions:
            inside = all(
                record.base <= a and a + n <= text_end for a, n in ((f.new, f.new_size), (f.orig, f.orig_size))
            )
            fits = f.entry + JUMP_SIZE <= f.entry + f.displaced <= f.size
            if not inside or not fits or not record.base <= f.stub <= text_end - STUB_SIZE or f.old in old:
                return False
            if f.old < data_end and f.old + f.size > record.base:
                return False
            old.add(f.old)
    counters = [t.counter for t in record.tripwires]
    if any(not text_end <= c <= data_end - COUNTER_SIZE for c in counters):
        return False
    if counters and max(counters) - min(counters) > MOST_TRIPWIRES * COUNTER_SIZE:
        return False
    unwinding = record.unwinding
    return unwinding is None or (
        record.base <= unwinding.finder <= text_end - FINDER_SIZE
        and record.base <= unwinding.continuation <= text_end - CONTINUATION_SIZE
        and record.base <= unwinding.rows <= text_end - ROW.size * unwinding.count
        and text_end <= unwinding.following <= data_end - 8
    )


def reader(pid: int) -> Read:
    """Reads that never fail, only fall short."""
    return lambda address, size: memory.try_read(pid, address, size)


def routes(
    placed: Sequence[Placed], read: Read, more: Table[Address, PlacedFunction] | None = None
) -> dict[Address, Route | None]:
    """The route of every old function that a patch in the process replaces, by its address; None for an unknown jump.

    `more` adds functions of a patch that is not placed yet.
    """
    known: dict[Address, list[tuple[str, PlacedFunction]]] = {}
    for p in placed:
        for f in p.record.functions:
            known.setdefault(f.old, []).append((p.record.id, f))
    for f in (more or {}).values():
        known.setdefault(f.old, []).append(("", f))
    stubs = {f.stub for p in placed for f in p.record.functions}
    return {old: _route(read, old, rows, stubs) for old, rows in known.items()}


def _route(read: Read, old: Address, rows: Sequence[tuple[str, PlacedFunction]], stubs: set[Address]) -> Route | None:
    entry = Address(old + rows[0][1].entry)
    code = read(entry, JUMP_SIZE)
    if any(code == f.original for _, f in rows):
        return Route(code, old, True, "")
    target = jump_target(entry, code)
    if target is None:
        return None
    is_final = target not in stubs
    if not is_final:
        stub = decode_stub(target, read(target, STUB_SIZE))
        switch = read(stub.switch, 1) if stub else b""
        if stub is None or not switch:
            return None
        target = stub.to if switch != b"\0" else stub.origin
    for identity, f in rows:
        if target == f.new and identity:
            return Route(code, target, is_final, identity)
        if target == f.orig:
            return Route(code, old, False, "")
    return None


def group_state(
    identity: str, group: PlacedGroup, route_of: Table[Address, Route | None], read: Read
) -> tuple[State, State]:
    """(state, effective state): they differ only for INTERRUPTED, whose second says how the process behaves."""
    found = [route_of.get(f.old) for f in group.functions]
    if any(r is None for r in found):
        return State.DAMAGED, State.DAMAGED
    sure = [r for r in found if r is not None]
    if all(r.owner == identity for r in sure):
        effective = State.APPLIED
    elif all(r.owner == "" for r in sure):
        effective = State.NEVER_APPLIED if read(group.switch, 1) == UNUSED else State.REVERTED
    elif not any(r.owner == identity for r in sure):
        effective = State.REPLACED
    else:
        return State.DAMAGED, State.DAMAGED
    return (effective if all(r.is_final for r in sure) else State.INTERRUPTED), effective
