"""Old functions that the fix removes but that a running process may still reach.

Nothing in post calls them, so the compiler was free to change what they call: a removed function that a table in memory
still points to would call the new code with the old parameters.
"""

from __future__ import annotations

from suture.delta.atom import AtomFunction
from suture.delta.change import UnitChange
from suture.refusal import RESTART, Refusal


def callers_left(change: UnitChange) -> dict[str, Refusal]:
    """Replaced functions (by their name in post) that a removed but reachable function calls, with the reason to refuse
    them."""
    replaced_pre = {
        change.pre.function_of[index].name: name
        for name in change.replaced
        if (index := change.pairs.pre_of.get(change.post.functions[name].hot.index)) in change.pre.function_of
    }
    found: dict[str, Refusal] = {}
    for gone in _reachable(change, frozenset(replaced_pre)):
        for atom in gone.atoms:
            for ref in atom.references:
                called = change.pre.function_of.get(ref.section) if ref.section is not None else None
                if called is not None and called.name in replaced_pre:
                    found.setdefault(
                        replaced_pre[called.name],
                        Refusal(
                            f"{gone.name}, which the fix removes, can still be reached in a running process and "
                            "calls it as before",
                            f"keep {gone.name} in the fix, or {RESTART}",
                        ),
                    )
    return found


def _reachable(change: UnitChange, replaced: frozenset[str]) -> list[AtomFunction]:
    """Removed functions that something other than a direct call from replaced or equally unreachable code refers to."""
    gone = {n: change.pre.functions[n] for n in sorted(change.difference.gone) if n in change.pre.functions}
    reachable = {n for n, f in gone.items() if f.hot.is_global}
    progress = True
    while progress:
        progress = False
        for atom in change.pre.atoms.values():
            source = change.pre.function_of.get(atom.index)
            for ref in atom.references:
                target = change.pre.function_of.get(ref.section) if ref.section is not None else None
                if target is None or target.name not in gone or target.name in reachable or target is source:
                    continue
                harmless = (
                    source is not None and atom.is_branch(ref) and (source.name in replaced or source.name in gone)
                )
                if not harmless or (source is not None and source.name in reachable):
                    reachable.add(target.name)
                    progress = True
    return [gone[n] for n in sorted(reachable)]
