"""Post compiled so that variables keep their storage, where it matters: a process reads in new code what old code has
stored, and old code what new code has (delta/storage.py)."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass, replace

from suture.compile.job import CompileFailed
from suture.compile.tree import Tree
from suture.compile.unit import Unit, Variant
from suture.delta.atom import AtomObject
from suture.delta.compare import Difference, difference
from suture.delta.storage import declared_without, folded, is_of_gcc, is_suspect, unstored, with_storage
from suture.elf.file import ElfFile
from suture.make.account import Compared
from suture.refusal import RESTART, Refusal

Compiles = Callable[[Variant], tuple[AtomObject, AtomObject] | None]
"""Pre and post of a unit in a variant; None where the compiler rejects it."""


@dataclass(frozen=True)
class Stored:
    """How post is compiled (`variant`), and what the fix changes then.

    `unstored` are variables of post (labels) in which running code stores nothing though its source does; `problem` is
    why it cannot be told what running code has stored.
    """

    variant: Variant
    difference: Difference
    unstored: frozenset[str] = frozenset()
    problem: Refusal | None = None


def compared_with_storage(
    tree: Tree, post: Tree, found: Mapping[Unit, Compared], compared: Mapping[Unit, Variant]
) -> dict[Unit, Compared]:
    """What units with a difference come to, compiled so that what they store is kept. `compared` is the variant that
    each was compared in."""
    for one in (tree, post):
        with suppress(CompileFailed):  # told of each below; here all are compiled at once
            one.compile([(u, Variant.SECTIONS) for u in found])
    result = {}
    for unit, row in found.items():
        assert row.difference is not None

        def compiles(variant: Variant, unit: Unit = unit) -> tuple[AtomObject, AtomObject] | None:
            try:
                before, after = (one.compile([(unit, variant)])[0].path for one in (tree, post))
            except CompileFailed:
                return None
            return AtomObject(ElfFile.read(before)), AtomObject(ElfFile.read(after))

        way = stored(compiles, row.difference, compared[unit])
        left = None if way.problem or way.difference.is_empty else way.difference
        result[unit] = replace(row, difference=left, failure=way.problem, variant=way.variant, unstored=way.unstored)
    return result


def stored(compiles: Compiles, found: Difference, compared: Variant = Variant.COMPARE) -> Stored:
    """How to compile post of a unit with the difference `found` between its objects of the variant `compared`."""
    as_built = Stored(Variant.SECTIONS, found)
    objects = compiles(Variant.SECTIONS)
    if objects is None or not is_suspect(*objects, found.changed):
        return as_built
    pre, post = objects
    kept = compiles(Variant.STORED)
    if kept is None or not is_of_gcc(post):
        names = declared_without(pre, post) | declared_without(post, pre)
        return Stored(Variant.SECTIONS, found, problem=_untold(names) if names else None)
    lost = unstored(pre, kept[0], kept[1])
    if not folded(pre, post, kept[1]):
        return Stored(Variant.SECTIONS, found, lost)
    way = Variant.COMPARE_STORED if compared is Variant.COMPARE else Variant.STORED
    plain, alike = compiles(compared), compiles(way)
    if plain is None or alike is None:
        return Stored(Variant.STORED, difference(pre, kept[1]), lost)
    return Stored(Variant.STORED, with_storage(found, difference(*alike), difference(plain[0], alike[1])), lost)


def _untold(names: frozenset[str]) -> Refusal:
    return Refusal(
        f"the compiler may have made {', '.join(sorted(names))} constant or left it out, in old or in new code; what a "
        "running process has stored there would be lost",
        f"build with gcc 10 or later, which can be told to keep variables, or {RESTART}",
    )
