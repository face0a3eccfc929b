"""What reads bytes from outside, each as a function of bytes that may raise one kind of error and no other, and that
checks what it promises.

Every one of them has bounds, so each input is also held to a time.
"""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import UTC, datetime

from suture.elf.call_frame import BadCallFrame, entries
from suture.elf.file import BadElf, ElfFile
from suture.error import Unsupported
from suture.feed import index
from suture.feed.index import BadIndex
from suture.kernel import manifest as kernel
from suture.number import Address, Bias
from suture.patch import statement
from suture.patch.file import MANIFEST_SECTION, parse_patch
from suture.patch.link import Place, lay_out, link, slots_read
from suture.patch.manifest import BadPatch, SymbolKind, parse_manifest
from suture.patch.record import BadRecord, decode
from suture.patch.seal import seal
from suture.patch.statement import BadStatement
from suture.process.memory.maps import Maps, choose_address
from suture.process.memory.placed import check_revertible
from suture.report.feed import Product
from suture.visible import visible

STATED = f"{1:040x}"  # the build-id that statements are about
SLOWEST = 5.0  # seconds of the processor for one input


def patch(data: bytes) -> bool:
    """A patch file without its end, which is made to fit: what is not refused can be linked, and reverted or
    refused."""
    try:
        found = parse_patch(seal(data), "p")
        names = {n: Address(1 << 32) for n, s in found.manifest.symbols.items() if s.kind is SymbolKind.IMPORT}
        place = Place(
            Address(0x7F0000000000), Bias(0x7F0000100000), dict.fromkeys(slots_read(found), Address(1 << 33)), names, {}
        )
        linked = link(found, lay_out(found), place)
        assert parse_manifest(found.manifest.to_json(), "p") == found.manifest
    except BadPatch:
        return False
    assert len(linked.text) % 4096 == len(linked.data) % 4096 == 0
    with contextlib.suppress(BadRecord):
        check_revertible(linked.text, linked.record)
        again = decode(linked.text)
        assert again.encode() == linked.record.encode()
        assert [g.switch for g in again.groups] == [g.switch for g in linked.record.groups]
    return True


def manifest(data: bytes) -> bool:
    """What is accepted is the same after writing and reading."""
    try:
        found = parse_manifest(data, "p")
    except BadPatch as problem:
        assert len(problem.what) < 4096
        return False
    assert parse_manifest(found.to_json(), "p") == found
    return True


def kernel_patch(data: bytes) -> bool:
    """A module of the kernel with a manifest."""
    try:
        kernel.parse_patch(seal(data), "p")
    except BadPatch:
        return False
    return True


def elf(data: bytes) -> bool:
    """Every table of an ELF file."""
    try:
        file = ElfFile(data)
    except (BadElf, Unsupported):
        return False
    whole = True
    for part in (
        lambda: [file.bytes_of(s) for s in file.sections],
        lambda: file.segments,
        lambda: file.symbols,
        lambda: file.dynamic_symbols,
        lambda: file.relocations_by_section,
        lambda: file.build_id,
        lambda: file.section(MANIFEST_SECTION),
        lambda: [file.read_at(s.p_vaddr, min(s.p_memsz, 64)) for s in file.segments],
    ):
        try:
            part()
        except BadElf:
            whole = False
    return whole


def frames(data: bytes) -> bool:
    """Call frame information."""
    try:
        return all(e.size >= 0 or True for e in entries(data))
    except BadCallFrame:
        return False


def maps(data: bytes) -> bool:
    """The text of /proc/PID/maps: rows that are whole, and room that is free."""
    found = Maps(data)
    for row in found.mappings:
        assert visible(row.path).isprintable()
    rows = [r for r in found.mappings if r.start < r.end < 1 << 47]
    if rows:
        at = choose_address(rows, rows[0].start, rows[0].end, 8192)
        assert at is None or all(at + 8192 <= r.start or r.end <= at for r in rows)
        found.index_of(rows[0].start)
    return bool(rows)


def record(data: bytes) -> bool:
    """What a process says of its patch: what is read is the same after writing and reading, and drives no terminal."""
    try:
        found = decode(data)
    except BadRecord:
        return False
    assert decode(found.encode()) == found
    assert all(t.isprintable() for t in (found.name, found.file, found.relaxed, *found.notes, *found.cves))
    with contextlib.suppress(BadRecord):
        check_revertible(data, replace(found))
    return True


def feed_statement(data: bytes) -> bool:
    """What a feed says of a binary: what is read is the same after writing and reading, and names files of one
    folder."""
    try:
        found = statement.decode(data, Product.LIBRARIES, STATED)
    except BadStatement:
        return False
    assert statement.decode(statement.encode(found), Product.LIBRARIES, STATED) == found
    for offer in found.offers:
        assert "/" not in statement.file_name(offer) and 0 < offer.bytes <= 64 << 20 and offer.build_id == STATED
    now = datetime.now(UTC)
    for channel in ("early", "stable"):
        shown = [*statement.current(found, channel, now), *statement.waiting(found, channel, now)]
        assert not {o.patch for o in shown} & {o.patch for o in statement.withdrawn([found])}
    return True


def feed_index(data: bytes) -> bool:
    """The build-ids that a feed has patches for."""
    try:
        found = index.unpack(data)
    except BadIndex:
        return False
    assert index.unpack(index.pack(found)) == found
    return True


@dataclass(frozen=True)
class Target:
    """`share` is how much of a run it gets."""

    read: Callable[[bytes], bool]
    share: int


TARGETS = {
    "patch": Target(patch, 30),
    "manifest": Target(manifest, 20),
    "kernel_patch": Target(kernel_patch, 5),
    "elf": Target(elf, 15),
    "frames": Target(frames, 5),
    "maps": Target(maps, 10),
    "record": Target(record, 15),
    "feed_statement": Target(feed_statement, 10),
    "feed_index": Target(feed_index, 2),
}


def try_one(name: str, data: bytes) -> bool:
    """Whether the input was accepted. Raises whatever should not have been raised, and for one that took too long."""
    begin = time.process_time()
    accepted = TARGETS[name].read(data)
    taken = time.process_time() - begin
    assert taken < SLOWEST, f"{name}: {taken:.1f} s for {len(data)} bytes"
    return accepted
