"""Pairing the atoms of *post* with those of *pre*.

Plain names pair by name. Names that the compiler numbers (`x.12`, `CSWTCH.45`, `f.isra.0`) pair by base name, referring
functions and contents, never by number. What cannot be told apart stays unpaired, and is refused later if it matters.
"""

from __future__ import annotations

import re
from collections import defaultdict
from dataclasses import dataclass, field

from suture.delta.atom import Atom, AtomKind, AtomObject, without_fields

_NUMBERED = re.compile(r"\.\d+(?=\.|$)")


def base_name(label: str) -> str:
    """A label without the numbers that gcc appends: `x.12` and `x.13` are both `x.#`."""
    return _NUMBERED.sub(".#", label)


@dataclass
class Pairs:
    """`pre_of` maps section indices of post to those of pre; `ambiguous` lists post variables that several of pre could
    be."""

    pre_of: dict[int, int] = field(default_factory=dict)
    post_of: dict[int, int] = field(default_factory=dict)
    ambiguous: set[int] = field(default_factory=set)

    def join(self, pre: int, post: int) -> None:
        """Pair two atoms."""
        self.pre_of[post] = pre
        self.post_of[pre] = post


def pair_atoms(pre: AtomObject, post: AtomObject) -> Pairs:
    """Pair atoms of the same kind; merged constants are compared by contents and have no pair."""
    pairs = Pairs()
    left: dict[tuple[str, str, object], tuple[list[Atom], list[Atom]]] = defaultdict(lambda: ([], []))
    for side, obj in enumerate((pre, post)):
        for atom in obj.atoms.values():
            if atom.kind is not AtomKind.MERGED:
                left[(_family(atom), base_name(atom.label), obj.description(atom))][side].append(atom)
    for old, new in left.values():
        _pair_family(pre, post, old, new, pairs)
    return pairs


def _family(atom: Atom) -> str:
    """Kinds that may turn into one another between two versions of the same thing (zeroed or not) count as one."""
    if atom.kind in (AtomKind.DATA, AtomKind.BSS):
        return "variable"
    if atom.kind in (AtomKind.CONST, AtomKind.RELRO):
        # an unnamed section (switch tables, constant pools) pairs only with its like
        return "constant" if atom.label != atom.section.name else "pool"
    return atom.kind.value


def _pair_family(pre: AtomObject, post: AtomObject, old: list[Atom], new: list[Atom], pairs: Pairs) -> None:
    numbered = any(base_name(a.label) != a.label for a in old + new)
    if len(old) == 1 and len(new) == 1:
        if numbered and _is_state(old[0]) and not _share_a_user(pre, old[0], post, new[0]):
            pairs.ambiguous.add(
                new[0].index
            )  # another function's variable of the same name, or the same one after inlining
        else:
            pairs.join(old[0].index, new[0].index)
        return
    if not numbered:
        for a, b in zip(old, new, strict=False):
            pairs.join(a.index, b.index)
        return
    keys = (
        lambda obj, a: (obj.users.get(a.index), a.size, a.data),
        lambda obj, a: (obj.users.get(a.index), a.size),
        lambda obj, a: (a.size, a.data) if a.is_constant else (obj.users.get(a.index),),
        lambda obj, a: a.label if a.kind is AtomKind.CODE else None,
    )
    for key in keys:
        if not old or not new:
            return
        groups: dict[object, tuple[list[Atom], list[Atom]]] = defaultdict(lambda: ([], []))
        for a in old:
            groups[key(pre, a)][0].append(a)
        for b in new:
            groups[key(post, b)][1].append(b)
        for token, (some_old, some_new) in groups.items():
            if token is not None and len(some_old) == len(some_new) == 1:
                pairs.join(some_old[0].index, some_new[0].index)
                old = [a for a in old if a is not some_old[0]]
                new = [b for b in new if b is not some_new[0]]
    if old and new:
        old, new = _pair_by_place(pre, post, old, new, pairs)
        _pair_in_order(old, new, pairs)


def _is_state(atom: Atom) -> bool:
    return atom.kind in (AtomKind.DATA, AtomKind.BSS, AtomKind.THREAD)


def _share_a_user(pre: AtomObject, old: Atom, post: AtomObject, new: Atom) -> bool:
    before, after = ({base_name(n) for n in obj.users.get(a.index, ())} for obj, a in ((pre, old), (post, new)))
    return bool(before & after) or before == after


def _pair_by_place(
    pre: AtomObject, post: AtomObject, old: list[Atom], new: list[Atom], pairs: Pairs
) -> tuple[list[Atom], list[Atom]]:
    """Pair what functions of equal code refer to at equal places; what is left over."""
    said: dict[int, set[int]] = defaultdict(set)  # by post
    wanted = ({a.index for a in old}, {b.index for b in new})
    for name in {n for b in new for n in post.users.get(b.index, ())} & pre.functions.keys():
        for a, b in zip(pre.functions[name].atoms, post.functions[name].atoms, strict=False):
            if not _same_code(a, b):
                continue
            for x, y in zip(a.references, b.references, strict=True):
                if x.section in wanted[0] and y.section in wanted[1]:
                    said[y.section].add(x.section)
    places = {n: next(iter(found)) for n, found in said.items() if len(found) == 1}
    for number, place in places.items():
        if list(places.values()).count(place) == 1:
            pairs.join(place, number)
    return [a for a in old if a.index not in pairs.post_of], [b for b in new if b.index not in pairs.pre_of]


def _same_code(a: Atom, b: Atom) -> bool:
    """Whether two pieces of code differ at most in what they refer to."""
    if a.size != b.size or [(r.offset, r.r_type) for r in a.references] != [(r.offset, r.r_type) for r in b.references]:
        return False
    return without_fields(a.data, a.references) == without_fields(b.data, b.references)


def _pair_in_order(old: list[Atom], new: list[Atom], pairs: Pairs) -> None:
    """Constants may pair in order, since a difference shows in the contents; variables may not: state would be mixed
    up."""
    for a, b in zip(old, new, strict=False):
        if a.is_constant or a.kind is AtomKind.CODE:
            pairs.join(a.index, b.index)
        else:
            pairs.ambiguous.add(b.index)
