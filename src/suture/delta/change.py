"""One translation unit with its fix: both compiles cut into atoms, what differs, and where the old code runs."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property

from suture.delta.atom import Atom, AtomKind, AtomObject
from suture.delta.compare import Difference
from suture.delta.correlation import Pairs, pair_atoms
from suture.match.linker_edit import Kind
from suture.match.match import Match
from suture.number import Vaddr
from suture.refusal import Refusal

NOT_FOUND = Refusal(
    "its old code was not found in the running binary", "check version and build dependencies of the tree"
)


@dataclass(frozen=True)
class UnitChange:
    """`source` is the unit's path in the tree; `pre` and `post` are compiled with sections; `match` places pre in the
    target; `unlike` is why a function of pre is not there.

    `apart` gives pre and post compiled so that no function knows of another more than its prototype; None where the
    compiler cannot. `unstored` are variables of post, by label, in which running code stores nothing though its source
    does (storage.py).
    """

    source: str
    object: str
    pre: AtomObject
    post: AtomObject
    difference: Difference
    match: Match
    unlike: Refusal = NOT_FOUND
    apart: Callable[[], tuple[AtomObject, AtomObject] | None] = lambda: None
    unstored: frozenset[str] = frozenset()

    @cached_property
    def pairs(self) -> Pairs:
        return pair_atoms(self.pre, self.post)

    def address_of(self, post: Atom) -> Vaddr | None:
        """Link-time address of the running counterpart of an atom of post; None where nothing implies one."""
        index = self.pairs.pre_of.get(post.index)
        if index is None:
            return None
        return self.address_of_pre(self.pre.atoms[index])

    def address_of_pre(self, atom: Atom) -> Vaddr | None:
        """Link-time address of an atom of pre."""
        base = self.match.book.address(Kind.ADDRESS, f"sectioned:{atom.section.name}#{atom.index}")
        if base is not None:
            return Vaddr(base + self.pre.pads.get(atom.index, 0))
        for symbol in atom.symbols:
            if not symbol.name.startswith(".L"):
                address = self.match.address_of(symbol.name)
                if address is not None:
                    return Vaddr(address - symbol.st_value)
        return None

    def size_in_run(self, name: str) -> int | None:
        """Size in bytes of an old function as it runs."""
        placed = self.match.functions.get(name)
        return placed.size if placed else None

    @cached_property
    def replaced(self) -> frozenset[str]:
        """Functions of post whose code differs."""
        return self.difference.changed & self.post.functions.keys()

    @cached_property
    def new(self) -> frozenset[str]:
        """Functions that only post has."""
        return self.difference.new & self.post.functions.keys()

    def leads_inside(self, atom: Atom) -> bool:
        """Whether a datum of post holds addresses of labels in functions that are replaced; those of pre are other
        places."""
        for ref in atom.references:
            if self.post.points_inside(atom, ref) and ref.section is not None:
                function = self.post.function_of.get(ref.section)
                if function is None or function.name in self.replaced:
                    return True
        return False

    def is_copied(self, atom: Atom) -> bool:
        """Whether a reference to a datum of post gets a fresh copy of it in the patch, rather than the running one."""
        if atom.kind is AtomKind.MERGED or atom.is_pool or atom.is_indirection:
            return True
        if atom.kind in (AtomKind.CONST, AtomKind.RELRO):
            if atom.label in self.difference.changed_constants or self.leads_inside(atom):
                return True
            if atom.index not in self.pairs.pre_of:
                return True
            # a type's description is compared by its name, one that is local to its unit by its address
            may_be_copied = atom.is_global == atom.is_type_information
            return may_be_copied and self.address_of(atom) is None
        return atom.index not in self.pairs.pre_of and atom.index not in self.pairs.ambiguous
