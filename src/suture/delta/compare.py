"""Which functions and data differ between *pre* and *post*, after references are reduced to what they mean.

Strings and constants are compared by contents, switch tables with the function that owns them, everything else by the
pair that it belongs to. Objects are those compiled with a constant `__LINE__`, so that moved lines make no difference.
"""

from __future__ import annotations

from dataclasses import dataclass

from suture.delta.atom import Atom, AtomFunction, AtomKind, AtomObject, Reference, is_pc_relative, without_fields
from suture.delta.correlation import Pairs, pair_atoms
from suture.elf.abi import field_width


@dataclass(frozen=True)
class Difference:
    """Names of functions that differ, that are new, that are gone; labels of data whose contents differ or that are
    new."""

    changed: frozenset[str]
    new: frozenset[str]
    gone: frozenset[str]
    changed_variables: frozenset[str]
    changed_constants: frozenset[str]

    @property
    def is_empty(self) -> bool:
        return not (self.changed or self.new or self.changed_variables or self.changed_constants)


def reconciled(quiet: Difference, full: Difference) -> Difference:
    """`quiet`, of objects with a constant __LINE__, unless its names may mean other things in the objects that are
    patched from.

    Leaving noise out can only make a difference smaller. Where `quiet` names what `full`, the difference of those
    objects, does not have, the compiler numbered or cloned differently, and `full` counts: it replaces more, and misses
    nothing.
    """
    smaller = (
        quiet.changed <= full.changed
        and quiet.changed_variables <= full.changed_variables
        and quiet.changed_constants <= full.changed_constants
    )
    return quiet if smaller and quiet.new == full.new and quiet.gone == full.gone else full


def difference(pre: AtomObject, post: AtomObject) -> Difference:
    """Compare two compiles of one unit."""
    return _Comparison(pre, post).result()


class _Comparison:
    def __init__(self, pre: AtomObject, post: AtomObject) -> None:
        self.pairs: Pairs = pair_atoms(pre, post)
        self.pre, self.post = pre, post
        self.sides = (_Side(pre, None), _Side(post, self.pairs.pre_of))

    def result(self) -> Difference:
        pre_of = {self.post.function_of[n].name: self.pre.function_of[o].name for n, o in self._paired_functions()}
        changed = {
            new
            for new, old in pre_of.items()
            if self._function(0, self.pre.functions[old]) != self._function(1, self.post.functions[new])
        }
        variables, constants = self._changed_data()
        return Difference(
            frozenset(changed),
            frozenset(self.post.functions.keys() - pre_of.keys()),
            frozenset(self.pre.functions.keys() - set(pre_of.values())),
            frozenset(variables),
            frozenset(constants),
        )

    def _paired_functions(self) -> list[tuple[int, int]]:
        return [
            (new, old)
            for new, old in self.pairs.pre_of.items()
            if new in self.post.function_of
            and self.post.function_of[new].hot.index == new
            and old in self.pre.function_of
        ]

    def _changed_data(self) -> tuple[set[str], set[str]]:
        variables: set[str] = set()
        constants: set[str] = set()
        for new, old in self.pairs.pre_of.items():
            a, b = self.pre.atoms[old], self.post.atoms[new]
            if b.kind in (AtomKind.DATA, AtomKind.BSS, AtomKind.THREAD):
                if a.size != b.size or a.kind != b.kind or self.sides[0].content(a) != self.sides[1].content(b):
                    variables.add(b.label)
            elif (
                b.kind in (AtomKind.CONST, AtomKind.RELRO)
                and b.label != b.section.name
                and self.sides[0].content(a) != self.sides[1].content(b)
            ):
                constants.add(b.label)
        return variables, constants

    def _function(self, side: int, function: AtomFunction) -> object:
        """Code, and what it catches: a changed handler's type shows in the table alone."""
        parts = (*function.atoms, *self.sides[side].obj.tables_of(function))
        return tuple(self.sides[side].content(a) for a in parts)


class _Side:
    """One compile. `identity` gives each post atom its pair's section index in pre; None for pre itself."""

    def __init__(self, obj: AtomObject, identity: dict[int, int] | None) -> None:
        self.obj = obj
        self.identity = identity
        self._contents: dict[int, object] = {}
        self._open: set[int] = set()

    def content(self, atom: Atom) -> object:
        """Bytes with the relocated fields zeroed, and what each field means."""
        if atom.index not in self._contents:
            self._open.add(atom.index)
            data = without_fields(self.obj.compared_bytes(atom), atom.references)
            meaning = tuple((r.offset, r.r_type, self._meaning(atom, r)) for r in atom.references)
            self._open.discard(atom.index)
            self._contents[atom.index] = (data, meaning)
        return self._contents[atom.index]

    def _meaning(self, source: Atom, ref: Reference) -> object:
        if ref.section is None:
            return ("external", ref.symbol, ref.value, ref.addend)
        target = self.obj.atoms.get(ref.section)
        if target is None:
            return ("dropped", self.obj.elf.sections[ref.section].name, ref.value + ref.addend)
        if target.kind is AtomKind.MERGED:
            return self._merged(ref, target)
        place = self._name(target)
        if target.is_constant and not target.is_global and ref.section not in self._open:
            if target.label == target.section.name:
                return ("pool", self._pool(target, self.obj.pointed(source, ref)))
            return ("constant", self.content(target), ref.value + ref.addend)
        return ("atom", place, ref.value + ref.addend)

    def _name(self, target: Atom) -> object:
        if self.identity is None:
            return target.index
        return self.identity.get(target.index, ("new", target.label))

    def _merged(self, ref: Reference, target: Atom) -> object:
        if ref.symbol:
            return ("piece", self.obj.string_at(target.index, ref.value), ref.addend)
        start = ref.addend + (4 if is_pc_relative(ref.r_type) else 0)
        return ("piece", self.obj.string_at(target.index, start), 0)

    def _pool(self, target: Atom, start: int) -> object:
        """The part of an unnamed constant section from where a reference points up to where the next one does. What a
        switch table's entry adds to its target counts from the table's start, wherever that is in the section."""
        low, end = self.obj.piece(target, start)
        self._open.add(target.index)
        meaning = tuple(
            (r.offset - low, r.r_type, self._meaning(target, r)) for r in target.references if low <= r.offset < end
        )
        self._open.discard(target.index)
        data = bytearray(target.data[low:end])
        for offset, r_type, _ in meaning:
            width = field_width(r_type)
            data[offset : offset + width] = bytes(width)
        return bytes(data), meaning
