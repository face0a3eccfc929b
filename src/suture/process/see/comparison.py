"""A patch's memory in a process, compared with what its patch file would have written there.

A process can write a record of its own making, or change the code behind a true one. So the patch is laid out and
linked once more for the same place and compared byte for byte: record, code, constants, thunks. The switch stubs and
their bytes are left to whoever reads the entries (`placed.routes`). Where imports are is for the process to say, as it
is for all its other calls.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator

from suture.elf.abi import GOT_LOADS, R, field_width
from suture.error import SutureError
from suture.number import Address, Vaddr, in_file
from suture.patch.file import PatchFile
from suture.patch.finder import CONTINUATION_SIZE
from suture.patch.link import Layout, Place, lay_out, link
from suture.patch.manifest import SymbolKind
from suture.patch.record import PlacedFunction
from suture.patch.x86_64 import JUMP_SIZE, STUB_SIZE
from suture.process.memory import memory
from suture.process.memory.placed import Placed


def doubt(pid: int, patch: PatchFile, placed: Placed) -> str:
    """Why the memory is not what the file writes, in words; "" when it is."""
    try:
        record = placed.record
        layout = lay_out(patch, record.companions)
        if (record.text_size, record.data_size) != (layout.text_size, layout.data_size):
            return "its memory has another size"
        rows = {in_file(f.old, record.bias): f for f in record.functions}
        wrong = next(
            (f.name for f in patch.manifest.functions if not _is_old_code(pid, rows.get(f.address), f.sha256)), ""
        )
        if wrong:
            return f"{wrong} was not the code that the patch is for"
        original = {address: f.original for address, f in rows.items()}
        slots, imports = _anywhere(patch, record.base)
        linked = link(patch, layout, Place(record.base, record.bias, slots, imports, original))
    except SutureError as problem:
        return problem.what
    present = bytearray(memory.try_read(pid, record.base, layout.text_size))
    wanted = bytearray(linked.text)
    if len(present) != len(wanted):
        return "its memory cannot be read"
    for start, size in _open(patch, layout, linked.record.functions, record.base):
        present[start : start + size] = wanted[start : start + size]
    if present != wanted:
        at = next(n for n, (a, b) in enumerate(zip(present, wanted, strict=True)) if a != b)
        return f"other bytes at {record.base + at:#x}"
    return ""


def _is_old_code(pid: int, row: PlacedFunction | None, sha256: str) -> bool:
    if row is None or row.sha256 != sha256:
        return False
    body = bytearray(memory.try_read(pid, row.old, row.size))
    body[row.entry : row.entry + JUMP_SIZE] = row.original
    return len(body) == row.size and hashlib.sha256(body).hexdigest() == sha256


def _anywhere(patch: PatchFile, base: Address) -> tuple[dict[Vaddr, Address], dict[str, Address]]:
    """GOT slots by link-time address and imports by name, with an address that is as good as any: what the process has
    there goes into slots of the patch, which are data, and into words that are left open."""
    symbols = patch.manifest.symbols
    slots = {s.address: base for s in symbols.values() if s.kind is SymbolKind.SLOT}
    return slots, {name: base for name, s in symbols.items() if s.kind is SymbolKind.IMPORT}


def _open(
    patch: PatchFile, layout: Layout, functions: tuple[PlacedFunction, ...], base: Address
) -> Iterator[tuple[int, int]]:
    """(offset, size) of what differs from process to process: stubs, how the finder goes on to the C++ runtime, and
    words of constants that hold the address of an import."""
    for f in functions:
        yield f.stub - base, STUB_SIZE
    if layout.unwinding is not None:
        yield layout.unwinding.continuation, CONTINUATION_SIZE
    for section in patch.sections:
        if section.is_writable:
            continue
        for row in patch.object.relocations_by_section.get(section.index, ()):
            symbol = patch.object.symbols[row.symbol]
            through_slot = row.r_type in GOT_LOADS or row.r_type == R.PLT32
            if symbol.is_defined or through_slot or patch.manifest.symbols[symbol.name].kind is SymbolKind.IMAGE:
                continue
            yield layout.sections[section.index] + row.r_offset, field_width(row.r_type)
