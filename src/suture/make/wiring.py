"""A patch with tripwires: the same patch, whose new code counts what it rejects.

What goes in, what is refused and what is accounted for is decided without the counters. Then the fixed source is
compiled once more with them, and a counter stays only if the patch made of that replaces the same functions under the
same verdict. What has no counter is listed with the reason.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace

from suture.compile.affected import Affected
from suture.compile.job import CompileFailed
from suture.compile.unit import Unit, Variant
from suture.delta.atom import AtomObject
from suture.delta.change import UnitChange
from suture.delta.compare import difference
from suture.elf.file import ElfFile
from suture.make.build import Built, Tell, as_patched
from suture.make.counted_site import CountedSite, SitesOfFixes, in_order, sorted_rows, woven
from suture.patch.manifest import Manifest
from suture.patch.tripwire import Tripwire, WithoutTripwire
from suture.source.changed_line import ChangedLines
from suture.source.fix import Fix

_MOST_ALONE = 32  # counters that are tried one by one when they do not fit together; each is a compile
_TOO_MANY = "more places than are tried one by one"
_MOST_SAID = 300
_ELSEWHERE = "its code is in no function that this patch replaces"

Rebuild = Callable[[Sequence[UnitChange], Tell], Built]
"""The patch of changes whose new code has counters."""


@dataclass(frozen=True)
class _Unlike:
    """Why a patch with counters would be another patch; `functions` are those that the fix does not change."""

    reason: str
    functions: frozenset[str] = frozenset()


@dataclass
class Wiring:
    """Finds the sites of all fixes of one binary and puts counters there. `variants` is how post is
    compiled, by object; `unwanted` are reasons by `FILE:LINE` why a site is to have none."""

    facts: Affected
    before: Callable[[str], bytes | None]
    lines: Mapping[tuple[int, str], ChangedLines]
    fixes: Sequence[Fix]
    changes: Sequence[UnitChange]
    variants: Mapping[str, Variant]
    unwanted: Mapping[str, str]
    without: list[WithoutTripwire] = field(default_factory=list)

    def wired(self, plain: Built, rebuild: Rebuild) -> Built:
        """The patch with all counters that leave it what it is."""
        assert plain.manifest is not None
        candidates = self._candidates()
        got = self._attempt(candidates, plain.manifest, rebuild)
        while isinstance(got, _Unlike) and (beyond := [c for c in candidates if c.function in got.functions]):
            self.without += [c.left_out(got.reason) for c in beyond]
            candidates = [c for c in candidates if c not in beyond]
            got = self._attempt(candidates, plain.manifest, rebuild)
        if isinstance(got, _Unlike):
            candidates = self._fitting(candidates, plain.manifest, rebuild)
            got = self._attempt(candidates, plain.manifest, rebuild)
        if isinstance(got, _Unlike):
            self.without += [c.left_out(got.reason) for c in candidates]
            got = rebuild(self.changes, lambda _: ((), self._left_out(())))
        return got

    def _fitting(self, candidates: Sequence[CountedSite], plain: Manifest, rebuild: Rebuild) -> list[CountedSite]:
        """Those that fit together: all of a file where they do, else one after the other."""
        fitting: list[CountedSite] = []
        alone = 0
        for path in sorted({c.path for c in candidates}):
            own = sorted((c for c in candidates if c.path == path), key=lambda c: not c.site.kind.rejects)
            if len(own) > 1 and isinstance(self._attempt([*fitting, *own], plain, rebuild), Built):
                fitting += own
                continue
            for one in own:
                few = alone < _MOST_ALONE
                alone += 1
                got = self._attempt([*fitting, one], plain, rebuild) if few else _Unlike(_TOO_MANY)
                if isinstance(got, _Unlike):
                    self.without.append(one.left_out(got.reason))
                else:
                    fitting.append(one)
        return fitting

    def _candidates(self) -> list[CountedSite]:
        readers = self.facts.readers
        found = SitesOfFixes(self.fixes, self.lines, self.before, self.facts.post.read, self.unwanted)
        sites = found.found(
            lambda path: any(u.object in self._objects for u in readers.get(path, ())),
            lambda path: any(u.language == "c++" for u in readers.get(path, ())),
        )
        self.without += found.without
        return self._harmless(sites)

    def _harmless(self, sites: Sequence[CountedSite]) -> list[CountedSite]:
        """Those whose tests change nothing, once macros are what they stand for."""
        if not any(c.site.test for c in sites):
            return list(sites)
        tree = self.facts.post.with_texts(woven(sites, self.facts.post.read))
        try:
            texts = [path.read_bytes() for path in tree.preprocessed(list(self._objects.values()))]
        except CompileFailed:
            texts = []
        left = []
        for one in sites:
            reason = one.why_unsafe(texts)
            if reason:
                self.without.append(one.left_out(reason))
            else:
                left.append(one)
        return left

    @property
    def _objects(self) -> Mapping[str, Unit]:
        own = {c.object for c in self.changes}
        return {u.object: u for u in self.facts.units if u.object in own}

    def _attempt(self, candidates: Sequence[CountedSite], plain: Manifest, rebuild: Rebuild) -> Built | _Unlike:
        """The patch with these counters, or why it would be another patch."""
        changes = self._compiled(candidates)
        if isinstance(changes, _Unlike):
            return changes
        built = rebuild(changes, lambda offsets: self._told(candidates, offsets))
        if built.manifest is None or nature(built.manifest) != nature(plain):
            return _Unlike("with its counter the patch would replace other functions, or get another verdict")
        return built

    def _compiled(self, candidates: Sequence[CountedSite]) -> list[UnitChange] | _Unlike:
        """The changes with counters in their new code; or why the compiler makes something else of them."""
        if not candidates:
            return list(self.changes)
        texts = woven(candidates, self.facts.post.read)
        units = [self._objects[c.object] for c in self.changes]
        try:
            objects = self.facts.post.with_texts(texts).compile([(u, self.variants[u.object]) for u in units])
        except CompileFailed as failed:
            said = next((x for x in failed.rejected[0].output.splitlines() if "error" in x), "")
            return _Unlike(f"the compiler does not take a counter there: {said.strip()}"[:_MOST_SAID])
        found = []
        for change, made in zip(self.changes, objects, strict=True):
            one = _with_counters(as_patched(change), AtomObject(ElfFile.read(made.path)))
            if isinstance(one, _Unlike):
                return one
            found.append(one)
        return found

    def _told(
        self, candidates: Sequence[CountedSite], offsets: Mapping[str, int]
    ) -> tuple[tuple[Tripwire, ...], tuple[WithoutTripwire, ...]]:
        tripwires, lost = in_order(candidates, offsets, _ELSEWHERE)
        return tripwires, self._left_out(lost)

    def _left_out(self, more: Sequence[WithoutTripwire]) -> tuple[WithoutTripwire, ...]:
        return sorted_rows((*self.without, *more))


def _with_counters(change: UnitChange, post: AtomObject) -> UnitChange | _Unlike:
    """The change with another post, if nothing but functions that the patch replaces or brings differs between both."""
    made = difference(change.post, post)
    own = change.difference
    strange = sorted(
        (made.changed - own.changed - own.new) | (made.gone - own.new) | (made.new & change.pre.functions.keys())
    )
    if strange or made.changed_variables or made.changed_constants:
        names = ", ".join(strange[:3]) or "data"
        reason = f"with its counter the compiler changes {names}, which the fix does not change"
        return _Unlike(reason, frozenset(n.partition(".")[0] for n in strange))
    return replace(change, post=post, difference=replace(own, new=(own.new - made.gone) | made.new))


def nature(manifest: Manifest) -> object:
    """What a patch is, whatever its new code counts."""
    functions = [
        (g.name, [(f.name, f.address, f.entry, f.displaced) for f in g.functions], g.parts) for g in manifest.groups
    ]
    return functions, manifest.verdict, manifest.fixes, manifest.exceptions
