"""What a fix changed in one unit: functions and data that differ, special entries included, and where the old ones
run."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

from suture.delta.atom import Atom
from suture.delta.compare import Difference, difference
from suture.delta.correlation import Pairs, base_name, pair_atoms
from suture.delta.storage import with_storage
from suture.make_kernel.image import KernelImage
from suture.make_kernel.match import KernelMatch
from suture.make_kernel.object import KernelObject, is_removal
from suture.make_kernel.special_section import SpecialSections, meaning
from suture.number import Vaddr


@dataclass(frozen=True)
class OtherCompiles:
    """Where *post* was compiled otherwise than *pre* and what runs: how both differ compiled as what runs, and *pre* as
    *post* is. `storage`: post differs in that its variables keep their places, and in nothing else."""

    plain: Difference
    pre: KernelObject
    storage: bool = False


@dataclass(frozen=True)
class KernelChange:
    """A unit before (*pre*) and after (*post*) the fix, and its place in *run*.

    `unstored` are variables of post (labels) in which running code stores nothing though its source does."""

    source: str
    pre: KernelObject
    post: KernelObject
    image: KernelImage
    match: KernelMatch
    special_pre: SpecialSections
    special_post: SpecialSections
    other: OtherCompiles | None = None
    unstored: frozenset[str] = frozenset()

    @cached_property
    def pairs(self) -> Pairs:
        return pair_atoms(self.pre, self.post)

    @cached_property
    def difference(self) -> Difference:
        own = compared(self.pre, self.post, self.special_pre, self.special_post)
        if self.other is None:
            return own
        # what the two ways to compile make differ is no change; what the fix changes shows in one way or in both
        pre = self.other.pre
        alike = compared(pre, self.post, SpecialSections(pre), self.special_post)
        if self.other.storage:
            return with_storage(self.other.plain, alike, own)
        changed = (self.other.plain.changed | alike.changed) & self.post.functions.keys()
        return Difference(changed - own.new, own.new, own.gone, own.changed_variables, own.changed_constants)

    @cached_property
    def lost(self) -> frozenset[str]:
        """Changed functions for which there is no new code, because the other way to compile has put it elsewhere."""
        if self.other is None or self.other.storage:
            return frozenset()
        return self.other.plain.changed - self.post.functions.keys()

    @cached_property
    def _chosen(self) -> tuple[frozenset[str], frozenset[str]]:
        """Functions to divert, and those that only come along.

        The kernel's `inline` means notrace too, so a large static function that gcc did not inline can't be diverted.
        Its callers can, where all that knows it are calls: they are replaced as if the fix had changed them, and take
        the new one along.
        """
        replaced = set((self.difference.changed & self.post.functions.keys()) - self.post.functions_once)
        along = set((self.difference.new & self.post.functions.keys()) - self.post.functions_once)
        kept = {n for n in self.post.functions.keys() - self.post.functions_once if self._was_freed(n)}
        replaced, along = replaced - kept, along | kept
        todo = sorted(replaced)
        while todo:
            name = todo.pop()
            callers = None if self._is_traced(name) else self._callers(name)
            if callers is not None:
                replaced.discard(name)
                along.add(name)
                fresh = callers - replaced - along
                replaced |= fresh
                todo += sorted(fresh)
        return frozenset(replaced), frozenset(along)

    def _was_freed(self, name: str) -> bool:
        """Whether the running function was freed after initialisation, and the fix keeps it."""
        pre = self.pre_of(self.post.functions[name].hot)
        return pre is not None and self.pre.runs_once(pre.section)

    def _is_traced(self, name: str) -> bool:
        pre = self.pre_of(self.post.functions[name].hot)
        return pre is not None and self.special_pre.traced(pre.index)

    def _callers(self, name: str) -> frozenset[str] | None:
        """Functions that call a static one; None when anything else refers to it, or something that is not running
        code."""
        hot = self.post.functions[name].hot
        found = set()
        for atom in self.post.atoms.values():
            refs = [r for r in atom.references if r.section == hot.index]
            owner = self.post.function_of.get(atom.index)
            if not refs or (owner is not None and owner.name == name):
                continue
            if owner is None or not all(atom.is_branch(r) for r in refs) or owner.name in self.post.functions_once:
                return None
            found.add(owner.name)
        return frozenset(found) if found and not hot.is_global else None

    @cached_property
    def replaced(self) -> frozenset[str]:
        """Functions of post that are diverted to, those of initialisation left out."""
        return self._chosen[0]

    @cached_property
    def new(self) -> frozenset[str]:
        """Functions that come along: those that only post has, and changed ones that only their callers lead to."""
        return self._chosen[1]

    @cached_property
    def once(self) -> frozenset[str]:
        """Changed or new functions that only ever run once."""
        return ((self.difference.changed | self.difference.new) & self.post.functions_once) - self.idle

    @cached_property
    def idle(self) -> frozenset[str]:
        """Changed or new functions that never run: they would remove what is built into vmlinux (__exit in
        linux/init.h)."""
        if not self.image.is_vmlinux:
            return frozenset()
        changed = self.difference.changed | self.difference.new
        return frozenset(
            n for n in changed & self.post.functions_once if is_removal(self.post.functions[n].hot.section)
        )

    def pre_of(self, post: Atom) -> Atom | None:
        """The counterpart of an atom of post."""
        index = self.pairs.pre_of.get(post.index)
        return self.pre.atoms[index] if index is not None else None

    def address_of(self, pre: Atom) -> Vaddr | None:
        """Where an atom of pre runs: what fields of running code imply, else the only address that its name has in the
        image."""
        known = self.match.address_of(pre.index)
        if known is None:
            known = self.match.addresses.get(pre.label)
        if known is None and base_name(pre.label) == pre.label:
            rows = self.image.names.get(pre.label, ())
            known = rows[0] if len(rows) == 1 else None
        return known

    def old_name(self, post_name: str) -> str:
        """The running name of a replaced function: numbered clones may have another number in post."""
        pre = self.pre_of(self.post.functions[post_name].hot)
        return pre.label if pre is not None else post_name


def compared(
    pre: KernelObject, post: KernelObject, special_pre: SpecialSections, special_post: SpecialSections
) -> Difference:
    """`suture.delta.compare.difference`, with the special entries of each function counted among its code."""
    plain = difference(pre, post)
    pairs = pair_atoms(pre, post)
    labels = (
        {a.index: base_name(a.label) for a in pre.atoms.values()},
        {a.index: base_name(a.label) for a in post.atoms.values()},
    )
    changed = set(plain.changed)
    for name, function in post.functions.items():
        for atom in function.atoms:
            old = pairs.pre_of.get(atom.index)
            if old is not None and meaning(special_pre, old, labels[0]) != meaning(special_post, atom.index, labels[1]):
                changed.add(name)
    return Difference(frozenset(changed), plain.new, plain.gone, plain.changed_variables, plain.changed_constants)
