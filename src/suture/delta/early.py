"""Functions whose code a running program is done with: what the loader called, and what nothing but that calls."""

from __future__ import annotations

from collections.abc import Collection

from suture.delta.atom import AtomObject
from suture.delta.change import UnitChange
from suture.delta.outside import INITIALIZERS
from suture.delta.selection import old_function
from suture.refusal import RESTART, Refusal


def run_already(change: UnitChange) -> dict[str, Refusal]:
    """Replaced functions, by name in post, that ran when the program was loaded: constructors, initializers of C++
    globals.

    New code in them never runs in this process. A constructor that something calls again is among them, for its first
    run stays.
    """
    found: dict[str, Refusal] = {}
    roots = _constructors(change.pre)
    before, after = done_with(change.pre, roots), done_with(change.post, _constructors(change.post))
    for name in sorted(change.replaced):
        old = old_function(change, name)
        if old is not None and (old.name in roots or (old.name in before and name in after)):
            found[name] = Refusal(
                "it ran when the program was loaded and has run already; its effect stays",
                RESTART,
            )
    return found


def _constructors(obj: AtomObject) -> set[str]:
    return {
        obj.function_of[ref.section].name
        for atom in obj.atoms.values()
        if atom.section.name.startswith(INITIALIZERS)
        for ref in atom.references
        if ref.section in obj.function_of
    }


def done_with(obj: AtomObject, roots: Collection[str]) -> set[str]:
    """Functions that ran once (`roots`), and local ones to which nothing but calls from such leads."""
    callers: dict[str, set[str]] = {}
    for atom in obj.atoms.values():
        owner = obj.function_of.get(atom.index)
        for ref in atom.references:
            called = obj.function_of.get(ref.section) if ref.section is not None else None
            if called is not None and called is not owner:
                known = owner is not None and atom.is_branch(ref)
                callers.setdefault(called.name, set()).add(owner.name if owner and known else "")
    found = set(roots)
    while True:
        local = {n for n in callers.keys() - found if not obj.functions[n].hot.is_global}
        more = {n for n in local if callers[n] <= found}
        if not more:
            return found
        found |= more
