"""The implementation that an IFUNC symbol has in a process, read from the fields that the loader filled in for others.

Nothing of the process is run. The defining object's own calls go through IRELATIVE fields whose addend is the resolver
(psABI); other objects have GOT fields with the symbol's name and version. A field counts when it points into code of
the file that holds the resolver, or of the vDSO: a lazy one that no call has used points into its own object. Two that
differ show nothing, and neither does a field that the program may have written to since: a variable with an IFUNC's
address has an IRELATIVE field too.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from suture.elf.abi import R
from suture.number import Address, Vaddr, in_process
from suture.process.memory import memory
from suture.process.memory.loaded import LoadedObject
from suture.process.memory.maps import Maps
from suture.process.tracee import Tracee


def chosen(
    tracee: Tracee, maps: Maps, objects: Sequence[LoadedObject], owner: LoadedObject, name: bytes, resolver: Address
) -> Address | None:
    """Address of what the resolver (an address in the process, defined by `owner`) has answered; None when no field
    shows it."""
    home = maps.at(resolver)
    if home is None or not home.inode:
        return None
    for places in (_own(maps, owner, resolver), _of_others(objects, owner, name, resolver)):
        values = set()
        for place in places:
            value = Address(int.from_bytes(memory.try_read(tracee.via, place, 8).ljust(8, b"\0"), "little"))
            at = maps.at(value)
            if at is None or not at.executable:
                continue
            if at.name == b"[vdso]" or (at.device, at.inode) == (home.device, home.inode):
                values.add(value)
        values.discard(resolver)
        if values:
            return values.pop() if len(values) == 1 else None
    return None


def _own(maps: Maps, owner: LoadedObject, resolver: Address) -> Iterator[Address]:
    for field in owner.fields():
        if field.type == R.IRELATIVE and in_process(Vaddr(field.addend), owner.bias) == resolver:
            at = maps.at(field.address)
            if field.of_plt or (at is not None and not at.writable):
                yield field.address


def _of_others(
    objects: Sequence[LoadedObject], owner: LoadedObject, name: bytes, resolver: Address
) -> Iterator[Address]:
    for other in objects:
        if other is owner:
            continue
        for field in other.fields():
            if field.type not in (R.GLOB_DAT, R.JUMP_SLOT):
                continue
            version = other.asks_for(field.symbol, name)
            if version is None:
                continue
            meant = owner.find(name, version)
            if meant is not None and meant.address == resolver:
                yield field.address
