"""What a patch may not do when old frames finish in old code: they go on calling, as before, what leads to new code by then.

In a strict patch such callers switch together with what they call. Registers that callers keep across calls are `delta.clobber`'s part.
"""

from __future__ import annotations

from collections.abc import Iterable

from suture.delta.change import UnitChange
from suture.delta.layout import changed_signatures
from suture.delta.selection import old_function
from suture.refusal import RESTART, Refusal

REMEDY = f"make the patch without --relaxed, or {RESTART}"
_VARIANTS = frozenset({"isra", "constprop", "part"})  # suffixes of gcc's clones whose parameters are not the source's


def called_otherwise(change: UnitChange, names: Iterable[str]) -> dict[str, Refusal]:
    """Those of the replaced functions `names` (in post) that old code cannot call in their new form, with the reason."""
    found: dict[str, Refusal] = {}
    signatures = {s.name: s for s in changed_signatures(change.pre.elf, change.post.elf, local=True)}
    called = _called_by_old_code(change)
    for name in sorted(names):
        old = old_function(change, name)
        signature = signatures.get(name.split(".", 1)[0])
        if signature is not None:
            found[name] = Refusal(
                f"the fix changes the parameters of {signature.name} ({signature.file}:{signature.line}: {signature.old} to {signature.new}), "
                "which old frames, that a relaxed patch lets go on, call as before",
                REMEDY,
            )
        elif old is not None and old.name in called and _VARIANTS & {*name.split("."), *old.name.split(".")}:
            found[name] = Refusal(
                f"{old.name} is a variant that gcc made for its callers, which the fix changes too; old frames of them, that a relaxed patch "
                "lets go on, call it as before, and it may expect other parameters",
                REMEDY,
            )
    return found


def _called_by_old_code(change: UnitChange) -> frozenset[str]:
    """Functions of pre that replaced or removed functions refer to."""
    old = [f for n in change.replaced if (f := old_function(change, n)) is not None]
    old += [change.pre.functions[n] for n in change.difference.gone if n in change.pre.functions]
    return frozenset(
        change.pre.function_of[r.section].name
        for f in old
        for atom in f.atoms
        for r in atom.references
        if r.section in change.pre.function_of
    )
