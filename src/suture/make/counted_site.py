"""Sites of fixes that a counter is put at, for binaries and for the kernel alike."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from suture.patch.tripwire import MOST_TRIPWIRES, SYMBOL, Tripwire, WithoutTripwire
from suture.source.changed_line import ChangedLines
from suture.source.fix import Fix
from suture.tripwire.comparison import NOWHERE, why_unsafe
from suture.tripwire.search import search
from suture.tripwire.site import Site, weave
from suture.tripwire.syntax import is_source


@dataclass(frozen=True)
class CountedSite:
    """A site, and the number of its counter. `is_cxx`: the file is C++."""

    path: str
    site: Site
    fix: Fix
    number: int
    is_cxx: bool = False

    @property
    def symbol(self) -> str:
        return f"{SYMBOL}{self.number}"

    @property
    def function(self) -> str:
        return self.site.function

    @property
    def count(self) -> str:
        """One addition in memory that others do not see half done; neither a call nor, without a test, a branch (Intel
        SDM, INC)."""
        count = f'__asm__ __volatile__("lock incq {self.symbol}(%%rip)" : : : "cc");'
        if self.site.test is None:
            return count
        return f"if ({self.site.test.test(self.number, self.is_cxx)}) {{ {count} }}"

    def why_unsafe(self, texts: Sequence[bytes]) -> str:
        """Why its test may not be made in any of these preprocessed texts; "" where nothing speaks against it."""
        if self.site.test is None:
            return ""
        said = [why_unsafe(text, self.number, self.is_cxx) for text in texts]
        return next((s for s in said if s not in ("", NOWHERE)), "" if "" in said else NOWHERE)

    def told(self, offset: int) -> Tripwire:
        """`offset` is that of its counter."""
        cves = tuple(sorted({*self.fix.cves, *(n.cve for n in self.fix.named if n.is_part)}))
        s = self.site
        return Tripwire(self.path, s.line, s.function, s.condition, s.kind.value, self.fix.name, cves, offset)

    def left_out(self, reason: str) -> WithoutTripwire:
        return WithoutTripwire(self.path, self.site.line, self.site.function, self.site.condition, reason)


@dataclass
class SitesOfFixes:
    """Finds the sites of all fixes. `before` and `after` give a file of the tree; `unwanted` are reasons by `FILE:LINE`
    why a site is to have no counter. `without` grows by what has none."""

    fixes: Sequence[Fix]
    lines: Mapping[tuple[int, str], ChangedLines]
    before: Callable[[str], bytes | None]
    after: Callable[[str], bytes | None]
    unwanted: Mapping[str, str]
    most: int = MOST_TRIPWIRES
    without: list[WithoutTripwire] = field(default_factory=list)

    def found(self, is_read: Callable[[str], bool], is_cxx: Callable[[str], bool]) -> list[CountedSite]:
        """Those in files that a unit of this patch reads, in the order of the files. `is_cxx` tells it of headers."""
        sites: list[CountedSite] = []
        for (number, path), lines in sorted(self.lines.items(), key=lambda row: (row[0][1], row[0][0])):
            after = self.after(path)
            if after is None or not is_read(path):
                continue
            if not is_source(path):
                self.without.append(WithoutTripwire(path, 0, "", "", "it is no C or C++"))
                continue
            removed, beside = self._together(path)
            cxx = is_cxx(path)
            rows, passed = search(path, self.before(path), after, removed, lines.added, cxx, beside)
            self.without += [WithoutTripwire(path, p.line, p.function, p.condition, p.reason) for p in passed]
            for site in rows:
                one = CountedSite(path, site, self.fixes[number], len(sites), cxx)
                reason = self.unwanted.get(f"{path}:{site.line}", "")
                if not lines.exact:
                    reason = "the fix does not apply at the lines that it gives"
                elif len(sites) >= self.most:
                    reason = f"a patch has {self.most} tripwires at most"
                if reason:
                    self.without.append(one.left_out(reason))
                elif not any((c.path, c.site.span) == (path, site.span) for c in sites):  # lines of two fixes in one
                    sites.append(one)
        return sites

    def _together(self, path: str) -> tuple[dict[int, str], set[int]]:
        """Lines that any fix takes from a file, and those that any adds: one may add what another takes away again."""
        rows = [lines for (_, other), lines in self.lines.items() if other == path]
        return {n: t for r in rows for n, t in r.removed.items()}, {n for r in rows for n in r.added}


def woven(sites: Iterable[CountedSite], after: Callable[[str], bytes | None]) -> dict[str, bytes]:
    """The files of some sites with their counters, by path."""
    rows = list(sites)
    texts = {}
    for path in sorted({c.path for c in rows}):
        text = after(path)
        assert text is not None
        texts[path] = weave(text, [(c.site, c.count) for c in rows if c.path == path])
    return texts


def in_order(
    sites: Iterable[CountedSite], offsets: Mapping[str, int], elsewhere: str
) -> tuple[tuple[Tripwire, ...], list[WithoutTripwire]]:
    """The tripwires by their counters' offsets, and those whose code went into no patch, for the reason
    `elsewhere`."""
    rows = list(sites)
    made = sorted((offsets[c.symbol], c.number, c) for c in rows if c.symbol in offsets)
    lost = [c.left_out(elsewhere) for c in rows if c.symbol not in offsets]
    return tuple(c.told(offset) for offset, _, c in made), lost


def sorted_rows(rows: Iterable[WithoutTripwire]) -> tuple[WithoutTripwire, ...]:
    """Each place without a tripwire once, in the order that a manifest has."""
    return tuple(sorted(set(rows), key=lambda w: (w.file, w.line, w.condition, w.reason)))
