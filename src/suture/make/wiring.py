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
from suture.patch.manifest import Manifest
from suture.patch.tripwire import MOST_TRIPWIRES, SYMBOL, Tripwire, WithoutTripwire
from suture.source.changed_line import ChangedLines
from suture.source.fix import Fix
from suture.tripwire.search import search
from suture.tripwire.site import Site, weave
from suture.tripwire.syntax import is_source

_MOST_ALONE = 32  # counters that are tried one by one when they do not fit together; each is a compile
_MOST_SAID = 300
_ELSEWHERE = "its code is in no function that this patch replaces"

Rebuild = Callable[[Sequence[UnitChange], Tell], Built]
"""The patch of changes whose new code has counters."""


@dataclass(frozen=True)
class _Unlike:
    """Why a patch with counters would be another patch; `functions` are those that the fix does not change."""

    reason: str
    functions: frozenset[str] = frozenset()


@dataclass(frozen=True)
class _Candidate:
    """A site, and the symbol of its counter."""

    path: str
    site: Site
    fix: Fix
    symbol: str

    @property
    def function(self) -> str:
        return self.site.function

    @property
    def count(self) -> str:
        """One addition in memory that others do not see half done; neither a call nor a branch (Intel SDM, INC)."""
        return f'__asm__ __volatile__("lock incq {self.symbol}(%%rip)" : : : "cc");'

    def told(self, offset: int) -> Tripwire:
        cves = tuple(sorted({*self.fix.cves, *(n.cve for n in self.fix.named if n.is_part)}))
        s = self.site
        return Tripwire(self.path, s.line, s.function, s.condition, s.kind.value, self.fix.name, cves, offset)

    def left_out(self, reason: str) -> WithoutTripwire:
        return WithoutTripwire(self.path, self.site.line, self.site.function, self.site.condition, reason)


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

    def _fitting(self, candidates: Sequence[_Candidate], plain: Manifest, rebuild: Rebuild) -> list[_Candidate]:
        """Those that fit alone."""
        fitting = []
        for number, one in enumerate(candidates):
            few = number < _MOST_ALONE
            got = self._attempt([one], plain, rebuild) if few else _Unlike("more places than are tried one by one")
            if isinstance(got, _Unlike):
                self.without.append(one.left_out(got.reason))
            else:
                fitting.append(one)
        return fitting

    def _candidates(self) -> list[_Candidate]:
        found: list[_Candidate] = []
        for (number, path), lines in sorted(self.lines.items(), key=lambda row: (row[0][1], row[0][0])):
            after = self.facts.post.read(path)
            readers = self.facts.readers.get(path, ())
            if after is None or not any(u.object in self._objects for u in readers):
                continue
            if not is_source(path):
                self.without.append(WithoutTripwire(path, 0, "", "", "it is no C or C++"))
                continue
            is_cxx = any(u.language == "c++" for u in readers)
            sites, passed = search(path, self.before(path), after, lines.removed, lines.added, is_cxx)
            self.without += [WithoutTripwire(path, p.line, p.function, p.condition, p.reason) for p in passed]
            for site in sites:
                symbol = f"{SYMBOL}{len(found)}"
                one = _Candidate(path, site, self.fixes[number], symbol)
                reason = self.unwanted.get(f"{path}:{site.line}", "")
                if not lines.exact:
                    reason = "the fix does not apply at the lines that it gives"
                elif len(found) >= MOST_TRIPWIRES:
                    reason = f"a patch has {MOST_TRIPWIRES} tripwires at most"
                if reason:
                    self.without.append(one.left_out(reason))
                elif not any((c.path, c.site.span) == (path, site.span) for c in found):  # lines of two fixes in one
                    found.append(one)
        return found

    @property
    def _objects(self) -> Mapping[str, Unit]:
        own = {c.object for c in self.changes}
        return {u.object: u for u in self.facts.units if u.object in own}

    def _attempt(self, candidates: Sequence[_Candidate], plain: Manifest, rebuild: Rebuild) -> Built | _Unlike:
        """The patch with these counters, or why it would be another patch."""
        changes = self._compiled(candidates)
        if isinstance(changes, _Unlike):
            return changes
        built = rebuild(changes, lambda offsets: self._told(candidates, offsets))
        if built.manifest is None or _nature(built.manifest) != _nature(plain):
            return _Unlike("with its counter the patch would replace other functions, or get another verdict")
        return built

    def _compiled(self, candidates: Sequence[_Candidate]) -> list[UnitChange] | _Unlike:
        """The changes with counters in their new code; or why the compiler makes something else of them."""
        if not candidates:
            return list(self.changes)
        texts = {}
        for path in sorted({c.path for c in candidates}):
            text = self.facts.post.read(path)
            assert text is not None
            texts[path] = weave(text, [(c.site, c.count) for c in candidates if c.path == path])
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
        self, candidates: Sequence[_Candidate], offsets: Mapping[str, int]
    ) -> tuple[tuple[Tripwire, ...], tuple[WithoutTripwire, ...]]:
        made = sorted((offsets[c.symbol], c) for c in candidates if c.symbol in offsets)
        lost = [c.left_out(_ELSEWHERE) for c in candidates if c.symbol not in offsets]
        return tuple(c.told(offset) for offset, c in made), self._left_out(lost)

    def _left_out(self, more: Sequence[WithoutTripwire]) -> tuple[WithoutTripwire, ...]:
        rows = {*self.without, *more}
        return tuple(sorted(rows, key=lambda w: (w.file, w.line, w.condition, w.reason)))


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


def _nature(manifest: Manifest) -> object:
    """What a patch is, whatever its new code counts."""
    functions = [
        (g.name, [(f.name, f.address, f.entry, f.displaced) for f in g.functions], g.parts) for g in manifest.groups
    ]
    return functions, manifest.verdict, manifest.fixes, manifest.exceptions
