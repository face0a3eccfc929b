"""What a patch may not do when old frames finish in old code: they go on calling, as before, what leads to new code by
then.

In a strict patch such callers switch together with what they call. Registers that callers keep across calls are
`delta.clobber`'s part.

gcc tells callers of a unit what their callees change and return (-fipa-modref, -fipa-pure-const, -fipa-reference), and
callees what they are given (-fipa-vrp, -fipa-cp, -fipa-bit-cp). Old frames may rely on what was true of an old callee,
and new code on what is true of new callers alone. Neither does where the code is the same compiled without all of that.
"""

from __future__ import annotations

from collections.abc import Iterable

from suture.delta.atom import AtomFunction, AtomObject
from suture.delta.change import UnitChange
from suture.delta.compare import difference
from suture.delta.layout import changed_signatures
from suture.delta.liveness import decode
from suture.delta.selection import old_function
from suture.refusal import RESTART, Refusal

REMEDY = f"make the patch without --relaxed, or {RESTART}"
_VARIANTS = frozenset({"isra", "constprop", "part"})  # suffixes of gcc's clones whose parameters are not the source's


def called_otherwise(change: UnitChange, names: Iterable[str]) -> dict[str, Refusal]:
    """Those of the replaced functions `names` (in post) that old code cannot call in their new form, with the
    reason."""
    found: dict[str, Refusal] = {}
    signatures = {s.name: s for s in changed_signatures(change.pre.elf, change.post.elf, local=True)}
    called = _called_by_old_code(change)
    for name in sorted(names):
        old = old_function(change, name)
        signature = signatures.get(name.split(".", 1)[0])
        if signature is not None:
            found[name] = Refusal(
                f"the fix changes the parameters of {signature.name} ({signature.file}:{signature.line}: "
                f"{signature.old} to {signature.new}), which old frames, that a relaxed patch lets go on, call as "
                "before",
                REMEDY,
            )
        elif old is not None and old.name in called and _VARIANTS & {*name.split("."), *old.name.split(".")}:
            found[name] = Refusal(
                f"{old.name} is a variant that gcc made for its callers, which the fix changes too; old frames of "
                "them, that a relaxed patch lets go on, call it as before, and it may expect other parameters",
                REMEDY,
            )
    return found


def told_of_one_another(change: UnitChange, names: Iterable[str]) -> dict[str, Refusal]:
    """Those of the replaced functions `names` (in post) that old code leads to, where that or their new code may rely
    on what the compiler knew of the other."""
    new_names = {old.name: n for n in names if (old := old_function(change, n)) is not None}
    leads = {f.name: {new_names[c] for c in _reached(change, f) if c in new_names} for f in _old_code(change)}
    if not any(leads.values()):
        return {}
    both = change.apart()
    old_same = _same(change.pre, both[0]) if both else frozenset[str]()
    new_same = _same(change.post, both[1]) if both else frozenset[str]()
    found: dict[str, Refusal] = {}
    for caller, called in sorted(leads.items()):
        for name in sorted(called - (new_same if caller in old_same else frozenset())):
            who = f"old frames of {caller}, that a relaxed patch lets go on,"
            reason = (
                f"{who} were compiled with what the compiler knew of the functions that they call, which may not "
                f"hold for the new {name}"
                if caller not in old_same
                else f"the new {name} was compiled with what the compiler knew of its callers, and {who} call it too"
            )
            found.setdefault(name, Refusal(reason, REMEDY))
    return found


def _same(one: AtomObject, other: AtomObject) -> frozenset[str]:
    """Functions whose code is the same in two compiles of one source."""
    delta = difference(one, other)
    return frozenset(one.functions.keys() - delta.changed - delta.gone)


def _reached(change: UnitChange, function: AtomFunction) -> set[str]:
    """Functions of pre that old code of one leads to by what it refers to, through others; itself where it calls
    itself."""
    found: set[str] = set()
    todo = [function]
    while todo:
        fresh = _referred(change, todo.pop()) - found
        found |= fresh
        todo += [change.pre.functions[n] for n in fresh]
    return found


def _referred(change: UnitChange, function: AtomFunction) -> set[str]:
    """Functions of pre that the code of one refers to; itself where a call or jump leads to its beginning."""
    found = {
        target.name
        for atom in function.atoms
        for r in atom.references
        if r.section is not None and (target := change.pre.function_of.get(r.section)) is not None
    }
    return found - {function.name} | ({function.name} if _leads_to_itself(function) else set())


def _leads_to_itself(function: AtomFunction) -> bool:
    """Told by a relocation, or by the code alone where the assembler has filled in the distance."""
    hot = function.hot
    return any(
        r.section == hot.index and atom.is_branch(r) and r.value + r.addend == -4
        for atom in function.atoms
        for r in atom.references
    ) or any(
        step.effect.relative is not None and step.offset + step.effect.relative == 0
        for step in decode(hot.data, hot.index, 0)
    )


def _called_by_old_code(change: UnitChange) -> frozenset[str]:
    """Functions of pre that replaced or removed functions refer to."""
    return frozenset(name for f in _old_code(change) for name in _referred(change, f))


def _old_code(change: UnitChange) -> list[AtomFunction]:
    """Functions of pre that the fix replaces or removes."""
    old = [f for n in change.replaced if (f := old_function(change, n)) is not None]
    return old + [change.pre.functions[n] for n in change.difference.gone if n in change.pre.functions]
