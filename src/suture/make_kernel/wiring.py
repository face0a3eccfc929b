"""A kernel patch with tripwires: the same module, whose new code counts what it rejects.

As for binaries (`suture.make.wiring`), all is decided without the counters, and a counter stays only if the module made
with it replaces the same functions in the same way.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from suture.compile.job import CompileFailed
from suture.elf.file import ElfFile
from suture.make.counted_site import CountedSite, SitesOfFixes, in_order, sorted_rows, woven
from suture.make_kernel import overlay, unit
from suture.make_kernel.change import KernelChange, compared
from suture.make_kernel.object import KernelObject
from suture.make_kernel.prepare import ROOT, KernelTree
from suture.make_kernel.resolve import Counted
from suture.make_kernel.select import KernelSelection
from suture.make_kernel.special_section import SpecialSections
from suture.patch.tripwire import COUNTER_SIZE, Tripwire, WithoutTripwire
from suture.source.changed_line import changed_lines
from suture.source.fix import Fix

MOST = 64
"""Counters of a module: their values have to fit into a page (param_array_get in kernel/params.c)."""
_MOST_ALONE = 16  # counters that are tried one by one when they do not fit together; each is a compile
_TOO_MANY = "more places than are tried one by one"
_OTHER_MODULE = "with its counter the module would replace other functions, or in another way"
_ELSEWHERE = "its code is in no function that this patch replaces"
_NOT_COMPARED = "the values of old and new code are not compared in a kernel yet"
_MOST_SAID = 300


@dataclass(frozen=True)
class Counters:
    """The tripwires of a module, `symbols` those of their counters in the same order, and what has none."""

    tripwires: tuple[Tripwire, ...] = ()
    symbols: tuple[str, ...] = ()
    without: tuple[WithoutTripwire, ...] = ()


NO_COUNTERS = Counters()


@dataclass(frozen=True)
class WiredKernel:
    """What goes into the module, with counters in it."""

    changes: tuple[KernelChange, ...]
    selection: KernelSelection
    counters: Counters = NO_COUNTERS


@dataclass
class KernelWiring:
    """Puts counters at the sites of all fixes. `units` are those that were compiled, `changes` and `selection` what is
    made of them without counters, and `select` selects from changes with them."""

    tree: KernelTree
    fixes: Sequence[Fix]
    units: Sequence[unit.KernelUnit]
    changes: tuple[KernelChange, ...]
    selection: KernelSelection
    select: Callable[[tuple[KernelChange, ...]], KernelSelection]
    unwanted: Mapping[str, str]
    without: list[WithoutTripwire] = field(default_factory=list)

    def __post_init__(self) -> None:
        self._layer, self._key = overlay.layer(self.tree, self.fixes, keep_lines=False)

    def wired(self) -> WiredKernel:
        """The module's contents with all counters that leave it what it is."""
        sites = self._sites()
        got = self._attempt(sites) if sites else self._plain
        if isinstance(got, str):
            fitting: list[CountedSite] = []
            for number, one in enumerate(sites):
                tried = self._attempt([*fitting, one]) if number < _MOST_ALONE else _TOO_MANY
                if isinstance(tried, str):
                    self.without.append(one.left_out(tried))
                else:
                    fitting.append(one)
            got = self._attempt(fitting) if fitting else self._plain
            assert not isinstance(got, str)
        told = sorted_rows((*self.without, *got.counters.without))
        return replace(got, counters=replace(got.counters, without=told))

    @property
    def _plain(self) -> WiredKernel:
        return WiredKernel(self.changes, self.selection)

    def _before(self, path: str) -> bytes | None:
        return _bytes(self.tree.files / path)

    def _after(self, path: str) -> bytes | None:
        made = _bytes(self._layer / ROOT.lstrip("/") / path)
        return made if made is not None else self._before(path)

    @property
    def _changed(self) -> dict[str, unit.KernelUnit]:
        own = {c.source for c in self.changes}
        return {u.source: u for u in self.units if u.source in own}

    def _sites(self) -> list[CountedSite]:
        lines = changed_lines(self.fixes, self._before, self._after)
        found = SitesOfFixes(self.fixes, lines, self._before, self._after, self.unwanted, MOST)
        read = {path for u in self._changed.values() for path in (u.source, *u.depends)}
        sites = found.found(lambda path: path in read, lambda _: False)
        self.without += found.without
        # what macros make of a test is asked of the preprocessor, which is not asked of kernels yet
        self.without += [c.left_out(_NOT_COMPARED) for c in sites if c.site.test is not None]
        return [c for c in sites if c.site.test is None]

    def _attempt(self, sites: Sequence[CountedSite]) -> WiredKernel | str:
        """The module's contents with these counters, or why it would be another module."""
        layer = overlay.with_texts(self.tree, self._layer, self._key, woven(sites, self._after))
        changes = []
        for change in self.changes:
            try:
                post = self._compiled(change, layer)
            except CompileFailed as failed:
                said = next((x for x in failed.rejected[0].output.splitlines() if "error" in x), "")
                return f"the compiler does not take a counter there: {said.strip()}"[:_MOST_SAID]
            one = _with_counters(change, post)
            if isinstance(one, str):
                return one
            changes.append(one)
        selection = self.select(tuple(changes))
        if selection.refused or _nature(selection) != _nature(self.selection):
            return _OTHER_MODULE
        named = {r.name for r in selection.resolved.values() if isinstance(r, Counted)}
        ordered = [c.symbol for c in sites if c.symbol in named]
        offsets = {name: COUNTER_SIZE * n for n, name in enumerate(ordered)}
        tripwires, lost = in_order(sites, offsets, _ELSEWHERE)
        return WiredKernel(tuple(changes), selection, Counters(tripwires, tuple(ordered), tuple(lost)))

    def _compiled(self, change: KernelChange, layer: tuple[Path, str]) -> KernelObject:
        """Post with counters, compiled as post was."""
        stored = change.other is not None and change.other.storage
        read_keys = change.other is not None and not stored
        own = self._changed[change.source]
        (made,) = unit.compile_sections(self.tree, [own], *layer, read_keys, stored)
        return KernelObject(ElfFile.read(made), self.tree.keeps_memory_init)


def _with_counters(change: KernelChange, post: KernelObject) -> KernelChange | str:
    """The change with another post, if nothing but functions that the patch replaces or brings differs between both."""
    special = SpecialSections(post)
    made = compared(change.post, post, change.special_post, special)
    own = change.difference
    strange = sorted(
        (made.changed - own.changed - own.new) | (made.gone - own.new) | (made.new & change.pre.functions.keys())
    )
    if strange or made.changed_variables or made.changed_constants:
        names = ", ".join(strange[:3]) or "data"
        return f"with its counter the compiler changes {names}, which the fix does not change"
    return replace(change, post=post, special_post=special)


def _nature(selection: KernelSelection) -> object:
    return selection.replaced, selection.notes, selection.keys


def _bytes(path: Path) -> bytes | None:
    return path.read_bytes() if path.is_file() else None
