"""What the dynamic loader of a process would bind a new reference to.

The scope is that of a lazy binding from the patched image: the objects loaded at the start, preloaded ones included, in
the loader's order, then the image and what it needs. Source: gABI chapter 5 (dynamic linking).
"""

from __future__ import annotations

from collections.abc import Sequence

from suture.elf.abi import SymbolType
from suture.error import Refused
from suture.number import Address
from suture.patch.manifest import ImportedSymbol
from suture.process.error import WrongTarget
from suture.process.memory.chosen import chosen
from suture.process.memory.image import Image
from suture.process.memory.loaded import REMEDY, LoadedObject, loaded_objects
from suture.process.memory.maps import Maps
from suture.process.tracee import Tracee
from suture.report.reason import Reason


def find_imports(
    tracee: Tracee, maps: Maps, image: Image, wanted: Sequence[ImportedSymbol]
) -> dict[tuple[str, str], Address]:
    """The address that each (name, version) means to the image.

    Raises Refused for one that is not there, is thread-local, or is an IFUNC whose choice nothing in the process shows.
    """
    objects = loaded_objects(tracee, image.dynamic)
    scope = _scope(objects, image, tracee)
    found = {}
    for symbol in wanted:
        name, version = symbol.name.encode(), symbol.version.encode()
        shown = symbol.name + (f"@{symbol.version}" if symbol.version else "")
        owner, definition = next(((o, d) for o in scope if (d := o.find(name, version)) is not None), (None, None))
        if owner is None or definition is None:
            raise Refused(
                f"pid {tracee.pid}: the patch needs {shown}, which this process does not have",
                REMEDY,
                reason=Reason.IMPORT_MISSING,
            )
        if definition.type == SymbolType.TLS:
            raise Refused(
                f"pid {tracee.pid}: the patch needs {shown}, which is thread-local",
                REMEDY,
                reason=Reason.IMPORT_THREAD_LOCAL,
            )
        address = definition.address
        if definition.type == SymbolType.GNU_IFUNC:
            choice = chosen(tracee, maps, objects, owner, name, definition.address)
            if choice is None:
                raise Refused(
                    f"pid {tracee.pid}: the patch needs {shown}, which is chosen at run time (IFUNC), and nothing in "
                    "the process shows the choice",
                    REMEDY,
                    reason=Reason.IMPORT_CHOICE,
                )
            address = choice
        found[(symbol.name, symbol.version)] = address
    return found


def definitions(tracee: Tracee, names: Sequence[str], dynamic: Address) -> dict[str, list[tuple[Address, Address]]]:
    """For each name all (dynamic section of the object, address) that define it, in the loader's order; none without a
    loader.

    `dynamic` is the dynamic section of an image, whose namespace counts (dlmopen). Raises Refused when the loader does
    not tell of it.
    """
    try:
        objects = loaded_objects(tracee, dynamic)
    except (Refused, WrongTarget):
        return {name: [] for name in names}
    if dynamic and not any(o.dynamic == dynamic for o in objects):
        raise Refused(
            f"pid {tracee.pid}: the loader does not tell which copy of a library a second one uses (dlmopen)",
            REMEDY,
            reason=Reason.NAMESPACE_UNKNOWN,
        )
    rows = {name: [(o.dynamic, o.find(name.encode(), b"")) for o in objects] for name in names}
    return {name: [(owner, d.address) for owner, d in found if d is not None] for name, found in rows.items()}


def _scope(objects: Sequence[LoadedObject], image: Image, tracee: Tracee) -> list[LoadedObject]:
    if not objects:
        return []
    last = max((objects.index(o) for o in _closure(objects, objects[0])), default=0)
    at_start = list(objects[: last + 1])
    own = next((o for o in objects if o.dynamic == image.dynamic), None)
    if own is None:
        raise Refused(
            f"pid {tracee.pid}: {image.path} is in none of the loader's lists that can be read (dlmopen)",
            REMEDY,
            reason=Reason.NAMESPACE_UNKNOWN,
        )
    return at_start + [o for o in _closure(objects, own) if o not in at_start]


def _closure(objects: Sequence[LoadedObject], root: LoadedObject) -> list[LoadedObject]:
    """An object and what it needs, breadth first."""
    by_name = {name: o for o in reversed(objects) for name in o.names}
    order = [root]
    for current in order:
        for name in current.needed:
            found = by_name.get(name)
            if found is not None and found not in order:
                order.append(found)
    return order
