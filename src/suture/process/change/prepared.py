"""All that is decided about one image of a process before anything in it is touched: also what `--dry-run` prints."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping as Table
from collections.abc import Sequence
from dataclasses import dataclass

from suture.error import Refused
from suture.number import Address, Vaddr, in_file, in_process
from suture.patch.file import PatchFile
from suture.patch.link import Layout, Linked, Place, Runtime, lay_out, link, slots_read
from suture.patch.manifest import BadPatch, SymbolKind
from suture.patch.record import BadRecord, Record
from suture.patch.x86_64 import JUMP_SIZE, STUB_SIZE
from suture.process.change.fitting import refuse_shared
from suture.process.change.replacement import taken_over
from suture.process.change.transition import Aim, Transition, plan
from suture.process.change.unwind_table import CxxRuntime, Registration, find_runtime, following_of, registration
from suture.process.error import WrongTarget
from suture.process.memory import memory
from suture.process.memory.image import Image
from suture.process.memory.loader import find_imports
from suture.process.memory.maps import Maps, choose_address
from suture.process.memory.placed import (
    Placed,
    Remains,
    Route,
    check_revertible,
    find_placed,
    reader,
    routes,
)
from suture.process.tracee import Tracee
from suture.refusal import RESTART
from suture.report.reason import Reason


@dataclass(frozen=True)
class Prepared:
    """All that is known before anything in the process is touched: where the memory goes, what it holds, what would be
    written.

    `existing` is the patch's memory of an earlier time, to be used again. `registration` makes its unwind tables known
    first.
    """

    image: Image
    linked: Linked
    existing: Placed | None
    remains: tuple[Remains, ...]
    aim: Aim
    placed: tuple[Placed, ...]
    routes: Table[Address, Route | None]
    bodies: tuple[tuple[Address, bytes], ...]
    transitions: tuple[Transition, ...]
    registration: Registration | None = None
    lost: tuple[str, ...] = ()


def prepare(
    tracee: Tracee,
    maps: Maps,
    patch: PatchFile,
    replace: bool,
    image: Image,
    accept_loss: bool = False,
    companions: tuple[str, ...] = (),
) -> Prepared:
    """Everything that can be decided about one image without touching the process; also what `--dry-run` prints.
    `companions` are the ids of patches that are to switch in the same stop."""
    refuse_shared(tracee, maps, patch, image)
    placed, remains = find_placed(tracee.via, maps)
    here = [p for p in placed if is_for(p.record, image)]
    read = reader(tracee.via)
    known = routes(here, read)
    bodies = _check_code(tracee, patch, image, here)
    taken = taken_over(tracee.pid, patch.id, patch.manifest, image.bias, here, known, replace, accept_loss)
    layout = lay_out(patch, companions)
    original = {f.address: bodies[f.address][f.entry : f.entry + JUMP_SIZE] for f in patch.manifest.functions}
    slots = {
        a: Address(int.from_bytes(memory.read(tracee.via, in_process(a, image.bias), 8), "little"))
        for a in slots_read(patch)
    }
    wanted = [s for s in patch.manifest.symbols.values() if s.kind is SymbolKind.IMPORT]
    imports = find_imports(tracee, maps, image, wanted) if wanted else {}
    named = {n: imports[(s.name, s.version)] for n, s in patch.manifest.symbols.items() if s.kind is SymbolKind.IMPORT}
    runtime = _runtime(tracee, patch, layout, placed, image)
    after = following_of(tracee, runtime) if runtime else Address(0)
    told = runtime.for_link(after) if runtime else None
    existing, linked = _reuse(tracee, patch, companions, image, here, known, slots, named, original, told)
    if linked is None:
        base = choose_address(maps.mappings, image.start, image.end, layout.size)
        if base is None:
            raise Refused(
                f"pid {tracee.pid}: no room of {layout.size} bytes within 2 GiB of {image.path}",
                RESTART,
                reason=Reason.NO_ROOM,
            )
        linked = link(patch, layout, Place(base, image.bias, slots, named, original, told))
    _check_record(patch, image, linked)
    first = registration(tracee, runtime, linked.record, existing is not None) if runtime else None
    aim = Aim(linked.record, tuple(t.record for t in taken), True)
    full = dict(known)
    for f in linked.record.functions:
        if f.old not in full:
            full[f.old] = Route(f.original, f.old, True, "")
    owners = {p.record.id: p.record for p in here} | {patch.id: linked.record}
    transitions = plan(aim, full, owners)
    untouched = tuple(
        (in_process(f.address, image.bias), bodies[f.address])
        for f in patch.manifest.functions
        if (r := full[in_process(f.address, image.bias)]) is not None and r.code == original[f.address]
    )
    return Prepared(
        image,
        linked,
        existing,
        tuple(remains),
        aim,
        tuple(here),
        full,
        untouched,
        tuple(transitions),
        first,
        tuple(name for t in taken for name in t.lost),
    )


def _check_record(patch: PatchFile, image: Image, linked: Linked) -> None:
    """Raises `BadPatch` for a patch that could be applied and then not be reverted."""
    record = linked.record
    for part in (*(p for g in record.groups for p in g.parts), *record.suspends):
        if not image.holds(in_file(part.old, image.bias), part.size):
            raise BadPatch(patch.manifest.name, f"{part.name} at {part.old:#x} is not in the image that it is for")
    try:
        check_revertible(linked.text, record)
    except BadRecord as problem:
        raise BadPatch(patch.manifest.name, f"could not be reverted: its record {problem}") from problem


def _runtime(
    tracee: Tracee, patch: PatchFile, layout: Layout, placed: Sequence[Placed], image: Image
) -> CxxRuntime | None:
    """Whom to tell of the patch's unwind tables. Raises Refused when the patch cannot do without."""
    if layout.unwinding is None:
        return None
    try:
        found = find_runtime(tracee, placed, image.dynamic)
    except Refused:
        if patch.manifest.exceptions:
            raise
        return None
    if found is None and patch.manifest.exceptions:
        raise Refused(
            f"pid {tracee.pid}: an exception may have to pass through the patch, and no C++ runtime is loaded that "
            "could be told",
            RESTART,
            reason=Reason.NO_CXX_RUNTIME,
        )
    return found


def is_for(record: Record, image: Image) -> bool:
    return record.build_id == image.build_id and record.bias == image.bias


def is_in_force(record: Record, known: Table[Address, Route | None]) -> bool:
    """Whether a function leads to this very memory: that of one patch may be there twice."""
    return any((r := known.get(f.old)) is not None and r.target == f.new for f in record.functions)


def _check_code(tracee: Tracee, patch: PatchFile, image: Image, here: Sequence[Placed]) -> dict[Vaddr, bytes]:
    """Original bytes of each old function by link-time address: what is mapped, with the entries that other patches
    wrote undone. Raises WrongTarget when the hash is not the manifest's."""
    bodies: dict[Vaddr, bytes] = {}
    for function in patch.manifest.functions:
        start = in_process(function.address, image.bias)
        body = bytearray(memory.read(tracee.via, start, function.size))
        for p in here:
            for f in p.record.functions:
                if f.old == start and f.entry == function.entry:
                    body[f.entry : f.entry + JUMP_SIZE] = f.original
        if hashlib.sha256(body).hexdigest() != function.sha256:
            raise WrongTarget(
                f"pid {tracee.pid}: {function.name} at {start:#x} is not the code that the "
                f"patch was made for, although {image.path} has its build-id",
                f"something else has changed this process, or it pretends: {RESTART}",
                reason=Reason.CODE_DIFFERS,
            )
        bodies[function.address] = bytes(body)
    return bodies


def _reuse(
    tracee: Tracee,
    patch: PatchFile,
    companions: tuple[str, ...],
    image: Image,
    here: Sequence[Placed],
    known: Table[Address, Route | None],
    slots: Table[Vaddr, Address],
    imports: Table[str, Address],
    original: Table[Vaddr, bytes],
    runtime: Runtime | None,
) -> tuple[Placed, Linked] | tuple[None, None]:
    """The patch's memory of an earlier time, when its contents are still what they would be made today: the one that
    functions lead to, or one that names the same companions."""
    mine = [p for p in here if p.record.id == patch.id]
    for p in sorted(mine, key=lambda p: not is_in_force(p.record, known)):
        if p.record.companions != companions and not is_in_force(p.record, known):
            continue
        layout = lay_out(patch, p.record.companions)
        if p.record.text_size != layout.text_size or p.record.data_size != layout.data_size:
            continue
        linked = link(patch, layout, Place(p.record.base, image.bias, slots, imports, original, runtime))
        present = bytearray(memory.read(tracee.via, p.record.base, layout.text_size))
        for f in linked.record.functions:  # stubs change with each transition
            at = f.stub - p.record.base
            present[at : at + STUB_SIZE] = linked.text[at : at + STUB_SIZE]
        start = min(layout.slots.values(), default=0) - layout.text_size
        size = 8 * len(layout.slots)
        values = memory.try_read(tracee.via, Address(p.data.start + start), size) if size else b""
        if bytes(present) == linked.text and values == linked.data[start : start + size if size else start]:
            return p, linked
    return None, None
