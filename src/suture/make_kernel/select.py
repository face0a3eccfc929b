"""Which atoms of all changed units go into the patch, how each of their references is found, and what is refused and
why."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from suture.delta.atom import Atom, AtomKind
from suture.delta.kept import kept_constants
from suture.delta.layout import LayoutChange
from suture.make_kernel.change import KernelChange
from suture.make_kernel.early import run_already
from suture.make_kernel.line import DeclarationLines, in_tree
from suture.make_kernel.object import KernelReference
from suture.make_kernel.resolve import Internal, KernelResolver, Livepatched, Resolution
from suture.make_kernel.special_section import ALTERNATIVES, STATIC_CALLS, SectionEntry
from suture.number import Vaddr
from suture.patch.manifest import RefusedFunction
from suture.refusal import Refusal

NEVER_RUNS = "{} never runs, since it would remove what is built in"
_TRACEPOINT = "__tracepoint_"
_READ = "replace the test in the fix: static_key_enabled() instead of static_branch_*()"
# Functions that every task is inside of whenever it does not run: no transition could end.
_ALWAYS_BUSY = frozenset({"__schedule", "schedule", "schedule_idle"})
_UNTRACED = (".noinstr.text", ".entry.text", ".cpuidle.text", ".kprobes.text", ".irqentry.text", ".softirqentry.text")


@dataclass(frozen=True)
class Replaced:
    """A running function that the patch replaces."""

    unit: int
    name: str
    old_name: str
    position: int
    address: Vaddr
    size: int


@dataclass
class KernelSelection:
    """`atoms` in the order that they are placed in; `entries` are those of special sections, by unit. `is_empty`: no
    function that runs changes, and nothing else is refused."""

    replaced: list[Replaced] = field(default_factory=list)
    atoms: list[Internal] = field(default_factory=list)
    entries: list[tuple[int, SectionEntry]] = field(default_factory=list)
    resolved: dict[tuple[int, int, KernelReference], Resolution] = field(default_factory=dict)
    refused: list[RefusedFunction] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    keys: dict[int, str] = field(default_factory=dict)
    """Units whose new code wants a jump label of a module, with the key's name: compiled to read keys it may do
    without."""
    is_empty: bool = False


def select(
    changes: tuple[KernelChange, ...],
    resolver: KernelResolver,
    layouts: Mapping[int, Iterable[LayoutChange]],
    lines: Mapping[int, DeclarationLines],
) -> KernelSelection:
    """Decide over all changed units. `layouts` are changed types, `lines` tell where functions are, both by unit."""
    work = _Selecting(changes, resolver, lines)
    for unit, change in enumerate(changes):
        work.roots(unit, change)
    work.close()
    for unit, change in enumerate(changes):
        work.data(unit, change)
        for layout in layouts.get(unit, ()):
            if layout.outlives:
                work.refuse_type(layout)
    if not work.result.replaced and not work.result.refused:
        work.result.is_empty = True
        work.result.refused.append(
            RefusedFunction(
                "",
                "",
                0,
                f"changes the code of no function{_that_runs(changes)}",
                "there is nothing to replace in a running kernel",
            )
        )
    return work.result


def _that_runs(changes: tuple[KernelChange, ...]) -> str:
    names = sorted(n for c in changes for n in c.idle)
    return f" that runs: {NEVER_RUNS.format(', '.join(names))}" if names else ""


class _Selecting:
    def __init__(
        self, changes: tuple[KernelChange, ...], resolver: KernelResolver, lines: Mapping[int, DeclarationLines]
    ) -> None:
        self.changes, self.resolver, self.lines = changes, resolver, lines
        self.result = KernelSelection()
        self.todo: list[Internal] = []
        self.seen: set[Internal] = set()

    def refuse(self, unit: int, name: str, reason: str, remedy: str) -> None:
        change = self.changes[unit]
        function = change.post.functions.get(name)
        names = (name, *(function.aliases if function is not None else ()))
        file, line = next((p for p in (self.lines[unit].place(n) for n in names) if p[1]), ("", 0))
        row = RefusedFunction(name, file or change.source, line, reason, remedy)
        if row not in self.result.refused:
            self.result.refused.append(row)

    def refuse_type(self, layout: LayoutChange) -> None:
        self.result.refused.append(
            RefusedFunction(
                "",
                in_tree(layout.file),
                layout.line,
                f"{layout.name} changes: {layout.what}; objects of it exist in the running kernel",
                "keep the type as it is and put new state into a shadow variable (klp_shadow_get_or_alloc)",
            )
        )

    def roots(self, unit: int, change: KernelChange) -> None:
        for name in sorted(change.once):
            self.refuse(
                unit,
                name,
                "only runs while the kernel or module starts or goes",
                "leave it out, or do its work in a callback",
            )
        for name in sorted(change.lost):
            self.refuse(unit, name, "has no code of its own when keys are read instead of jump labels", _READ)
        early = run_already(change)
        for name in sorted(early):
            self.refuse(
                unit, name, "it ran while the kernel or the module started and has run already; its effect stays",
                "leave it out with --only, or do its work in a callback (--callbacks FILE)",
            )  # fmt: skip
        for name in sorted(change.replaced - early):
            self._root(unit, change, name)

    def _root(self, unit: int, change: KernelChange, name: str) -> None:
        post = change.post.functions[name]
        pre = change.pre_of(post.hot)
        assert pre is not None
        old = pre.label
        section = pre.section.name
        if section.startswith(_UNTRACED):
            self.refuse(unit, name, f"lies in {section}, which must not be traced", "close the hole in a caller of it")
        elif old in _ALWAYS_BUSY:
            self.refuse(
                unit, name, "sleeping tasks are always inside it", "no transition could end: close the hole elsewhere"
            )
        elif not change.special_pre.traced(pre.index):
            self.refuse(
                unit, name, "begins without a call of the function tracer (notrace), so it can't be diverted",
                "close the hole in a caller of it",
            )  # fmt: skip
        elif old not in change.match.addresses:
            self.refuse(
                unit, name, "compiled apart it is not the code that runs, so nothing is proved of it", "report this fix"
            )
        else:
            address = change.match.addresses[old]
            position = change.image.position(old, address)
            if position is None:
                self.refuse(unit, name, "the running kernel has no such name at its address", "report this fix")
                return
            self.result.replaced.append(Replaced(unit, name, old, position, address, pre.size))
            self._add(Internal(unit, post.hot.index))

    def _add(self, atom: Internal) -> None:
        if atom in self.seen:
            return
        self.seen.add(atom)
        self.todo.append(atom)
        function = self.changes[atom.unit].post.function_of.get(atom.atom)
        if function is not None:
            for part in function.atoms:
                self._add(Internal(atom.unit, part.index))

    def close(self) -> None:
        """Everything that is reached from the replaced functions."""
        while self.todo:
            here = self.todo.pop(0)
            change = self.changes[here.unit]
            atom = change.post.atoms[here.atom]
            self.result.atoms.append(here)
            for ref in atom.references:
                assert isinstance(ref, KernelReference)
                self._follow(here.unit, atom, ref)
            if atom.kind is AtomKind.CODE:
                self._entries(here.unit, atom)

    def _follow(self, unit: int, atom: Atom, ref: KernelReference) -> Resolution:
        found = self.resolver.resolve(unit, atom, ref)
        self.result.resolved[unit, atom.index, ref] = found
        if isinstance(found, Refusal):
            self.refuse(unit, self._user(unit, atom), found.reason, found.remedy)
        elif isinstance(found, Internal) and not self._is_piece(found):
            self._add(found)
        return found

    def _is_piece(self, found: Internal) -> bool:
        return self.changes[found.unit].post.atoms[found.atom].kind is AtomKind.MERGED

    def _user(self, unit: int, atom: Atom) -> str:
        function = self.changes[unit].post.function_of.get(atom.index)
        if function is not None:
            return function.name
        users = sorted(self.changes[unit].post.users.get(atom.index, ()))
        return users[0] if users else atom.label

    def _entries(self, unit: int, atom: Atom) -> None:
        change = self.changes[unit]
        for entry in change.special_post.by_owner.get(atom.index, ()):
            if entry.key is not None and not self._key(unit, atom, entry):
                continue
            for ref in (*entry.references, *entry.extra_references):
                if ref.section != atom.index and not self._own_table(entry, ref):
                    self._follow(unit, atom, ref)
            if entry.section == ALTERNATIVES:
                self._alternative(unit, atom, entry)
            self.result.entries.append((unit, entry))

    def _alternative(self, unit: int, atom: Atom, entry: SectionEntry) -> None:
        """The loader writes alternatives before livepatch fills in what belongs to a module, which would write over
        them again."""
        if self.changes[unit].image.is_vmlinux:
            return
        inside = [r for r in atom.references if r.offset in entry.instructions]
        for ref in (*inside, *entry.extra_references):
            assert isinstance(ref, KernelReference)
            found = self.result.resolved.get((unit, atom.index, ref))
            if isinstance(found, Livepatched):
                self.refuse(
                    unit, self._user(unit, atom), f"refers to {found.name} of {found.object} in an alternative",
                    "take the reference out of the alternative in the fix",
                )  # fmt: skip

    def _own_table(self, entry: SectionEntry, ref: KernelReference) -> bool:
        """The field of an alternative that names its replacement, which is carried with the entry."""
        return entry.section == ALTERNATIVES and ref.offset == 4 and ref in entry.references

    def _key(self, unit: int, atom: Atom, entry: SectionEntry) -> bool:
        """Whether an entry with a key goes in. Keys of modules are bound too late for the tables, which the loader
        reads first."""
        assert entry.key is not None
        found = self.resolver.resolve(unit, atom, entry.key)
        name = self._user(unit, atom)
        if isinstance(found, Livepatched) and found.object != "vmlinux":
            if found.name.startswith(_TRACEPOINT):
                note = (
                    f"{name}: the tracepoint {found.name.removeprefix(_TRACEPOINT)} of the module stays silent in "
                    "new code"
                )
                if note not in self.result.notes:
                    self.result.notes.append(note)
                return False
            if entry.section == STATIC_CALLS:
                # the call stays one of the key's trampoline, which the kernel keeps true (asm/static_call.h)
                return False
            self.result.keys.setdefault(unit, found.name)
            self.refuse(
                unit, name, f"uses the jump label {found.name} of the module {found.object}",
                _READ,
            )  # fmt: skip
            return False
        return True

    def data(self, unit: int, change: KernelChange) -> None:
        """Data whose contents the fix changes: what is there already keeps its value."""
        for label in sorted(change.difference.changed_variables):
            self.refuse(
                unit, label, "the initial value of this variable changes; the running kernel keeps the old one",
                "set the value in a callback (--callbacks FILE), and leave the declaration as it was",
            )  # fmt: skip
        included = {a.atom for a in self.result.atoms if a.unit == unit}
        kept = kept_constants(change)
        for atom in change.post.atoms.values():
            if atom.label not in change.difference.changed_constants or atom.section.name.startswith("__"):
                continue
            users = [a for a in change.post.atoms.values() if any(r.section == atom.index for r in a.references)]
            outside = [a for a in users if a.index not in included]
            if atom.is_global or outside or not users:
                who = f", which {outside[0].label} uses too" if outside else ""
                self.refuse(
                    unit, atom.label, f"the contents of this table change{who}; the running kernel keeps the old ones",
                    "change the functions that the table leads to, or write it in a callback",
                )  # fmt: skip
            elif atom.label in kept:
                self.refuse(
                    unit, atom.label, kept[atom.label].reason, "change the functions that the table leads to instead"
                )
