"""What a fix changes in the code of each unit that reads it: compiled before and after with constant line numbers, and
compared."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from suture.compile import lto
from suture.compile.job import CompileFailed, RejectedUnit
from suture.compile.preprocessed import unchanged
from suture.compile.tree import Tree
from suture.compile.unit import Unit, Variant
from suture.delta.atom import AtomObject
from suture.delta.compare import difference
from suture.delta.outside import outside
from suture.elf.file import ElfFile
from suture.error import Unsupported
from suture.make.account import Compared
from suture.make.storage import compared_with_storage
from suture.progress import Progress, silent
from suture.refusal import RESTART, Refusal

_FEW = 12  # units up to which all variants are compiled in one go, since most of them will be needed
_INCOMPLETE = (
    "the tree lacks what only a whole build makes: build and record it again, or write a recipe with real = true "
    "(docs/reference/recipes.md)"
)

Known = dict[tuple[str, str], Compared]
"""What units of one tree have come to, by object and by what they read with the fix (`Tree.state_of`)."""


def compared(
    tree: Tree, post: Tree, units: Sequence[Unit], progress: Progress = silent, known: Known | None = None
) -> dict[str, Compared]:
    """What each unit's code or data comes to once line numbers are left out, by object. `known` is what other fixes
    have come to, and gets what this one comes to."""
    if known is None:
        return _compared(tree, post, units, progress)
    keys = {u.object: (u.object, post.state_of(u)) for u in units}
    found = {o: known[key] for o, key in keys.items() if key in known}
    found |= _compared(tree, post, [u for u in units if u.object not in found], progress)
    known.update({keys[o]: one for o, one in found.items()})
    return found


def _compared(tree: Tree, post: Tree, units: Sequence[Unit], progress: Progress) -> dict[str, Compared]:
    found = {o: Compared() for o in unchanged(tree, post, units)} if len(units) > _FEW else {}
    units = [u for u in units if u.object not in found]
    assembly = [u for u in units if u.language == "asm"]
    others = [u for u in units if u.language != "asm"]
    for unit, (old, new) in _both(tree, post, assembly, Variant.PLAIN, found).items():
        reason = "the fix changes assembly, which is not compared or replaced yet"
        same = old.read_bytes() == new.read_bytes()
        found[unit.object] = Compared() if same else Compared(failure=Refusal(reason, RESTART))
    failed: dict[str, Compared] = {}
    pairs = _both(tree, post, others, Variant.COMPARE, failed)
    # `__LINE__` in a name makes a constant one an error: there the lines count, and more functions than need be are
    # replaced
    variants = dict.fromkeys(pairs, Variant.COMPARE)
    pairs |= _both(tree, post, [u for u in others if u not in pairs], Variant.SECTIONS, found)
    differing: dict[Unit, Compared] = {}
    if not pairs and len(others) == 1 and len(units) == 1 and not found[others[0].object].unmade:
        post.compile([(others[0], Variant.SECTIONS)])  # raises with all that the compiler says
    for unit, (old, new) in pairs.items():
        before, after = old.read_bytes(), new.read_bytes()
        if lto.is_for_later(before, str(old)) or lto.is_for_later(after, str(new)):
            found[unit.object] = Compared(failure=Refusal(lto.REASON, lto.REMEDY))
            continue
        if before == after:
            found[unit.object] = Compared()
            continue
        pre, posted = AtomObject(ElfFile(before, str(old))), AtomObject(ElfFile(after, str(new)))
        delta = difference(pre, posted)
        found[unit.object] = Compared(None if delta.is_empty else delta, outside=outside(pre, posted))
        if not delta.is_empty:
            progress(f"{unit.source}: {len(delta.changed)} functions differ")
            differing[unit] = found[unit.object]
    ways = {u: variants.get(u, Variant.SECTIONS) for u in differing}
    found.update({u.object: c for u, c in compared_with_storage(tree, post, differing, ways).items()})
    late = [u for u in units if (f := found[u.object].failure) is not None and f.reason == lto.REASON]
    if late and len(late) == len(units):
        raise Unsupported(f"{late[0].source}: {lto.REASON}", lto.REMEDY)
    return found


def _both(
    tree: Tree, post: Tree, units: Sequence[Unit], variant: Variant, failed: dict[str, Compared]
) -> dict[Unit, tuple[Path, Path]]:
    """Objects of one variant before and after, of the units that compile both times. Few units get all variants at
    once."""
    extra = tuple(v for v in (Variant.PLAIN, Variant.SECTIONS) if v is not variant) if len(units) <= _FEW else ()
    before = _compiled(tree, units, (variant, *extra), failed)
    for unit in (u for u in units if u not in before):
        failed[unit.object] = _as_shipped(failed[unit.object])
    after = _compiled(
        post, [u for u in units if u in before], (variant, *(v for v in extra if v is Variant.SECTIONS)), failed
    )
    return {u: (before[u], after[u]) for u in after}


def _rejected(unit: RejectedUnit) -> Refusal:
    lines = unit.output.strip().splitlines()
    message = next((x for x in lines if "error" in x), lines[0] if lines else "")
    return Refusal(f"the compiler rejects it: {message}", "correct the fix, or leave it out with --only")


def _as_shipped(one: Compared) -> Compared:
    """The failure of a unit that has no fix yet."""
    reason = one.failure.reason if one.failure else ""
    return Compared(failure=Refusal(f"as it was shipped, {reason}", _INCOMPLETE), unmade=True)


def _compiled(
    tree: Tree, units: Sequence[Unit], variants: Sequence[Variant], refused: dict[str, Compared]
) -> dict[Unit, Path]:
    """The object of the first variant by unit, all variants compiled. A unit that the compiler rejects is refused."""
    left = list(units)
    while left:
        try:
            objects = tree.compile([(u, v) for u in left for v in variants])
        except CompileFailed as failed:
            refused.update({one.object: Compared(failure=_rejected(one)) for one in failed.rejected})
            left = [u for u in left if u.object not in refused]
            continue
        return {u: objects[n * len(variants)].path for n, u in enumerate(left)}
    return {}
