"""What an older release needs: the CVEs that a newer one has fixed in a package and the older one has not."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from suture.error import Refused
from suture.source.archive import SourceVersion
from suture.source.claim import together
from suture.source.difference import from_series, series
from suture.source.fix import Fix
from suture.source.subject import CVE


@dataclass(frozen=True)
class Need:
    """The patches of the newer series that fix some CVEs together, in their order."""

    cves: tuple[str, ...]
    patches: tuple[Fix, ...]

    @property
    def name(self) -> str:
        return self.cves[0] if self.cves else self.patches[0].name


def needs(old: SourceVersion, newer: SourceVersion) -> tuple[Need, ...]:
    """What `newer` has fixed and `old` names nowhere, neither in its changelog nor in its series."""
    known = named(old)
    return tuple(n for n in fixed(newer) if not known.issuperset(n.cves))


def fixed(source: SourceVersion) -> tuple[Need, ...]:
    """All fixes of CVEs in a series, patches for the same CVE together."""
    fixes = [f for name in series(source) if (f := _fix(source, name)) is not None]
    groups: list[list[Fix]] = []
    for fix in (f for f in together(fixes) if f.cves):
        same = [g for g in groups if any(set(fix.cves) & set(other.cves) for other in g)]
        for group in same:
            groups.remove(group)
        groups.append([*(f for group in same for f in group), fix])
    return tuple(Need(tuple(sorted({c for f in g for c in f.cves})), tuple(g)) for g in groups)


def named(source: SourceVersion) -> frozenset[str]:
    """The CVEs that a source names in its changelog, in its series, or in what a patch of it claims."""
    text = (source.tree / "debian/changelog").read_text(errors="surrogateescape")
    claimed = (c for name in series(source) if (f := _fix(source, name)) is not None for c in f.cves)
    return frozenset({*CVE.findall(text), *CVE.findall(" ".join(series(source))), *claimed})


def chosen(source: SourceVersion, words: Iterable[str]) -> tuple[Need, ...]:
    """The fixes of a series that are asked for, by CVE or by the name of a patch. Raises `Refused` for one that is not
    there."""
    found = []
    for word in words:
        if CVE.fullmatch(word):
            own = [n for n in fixed(source) if word in n.cves]
            if not own:
                raise Refused(
                    f"{source.name} {source.version} has no patch that says it fixes {word}",
                    f"name the patch itself; it has: {', '.join(series(source)[:20])}",
                )
            found += own
        else:
            fix = from_series(source, word)
            found.append(Need(fix.cves, (fix,)))
    return tuple(dict.fromkeys(found))


def _fix(source: SourceVersion, name: str) -> Fix | None:
    try:
        return from_series(source, name)
    except Refused:  # a patch without a diff, or one of which a part is missing
        return None


def ordered(wanted: Sequence[Need], source: SourceVersion) -> tuple[Need, ...]:
    """Fixes in the order in which the series has them."""
    places = {name: n for n, name in enumerate(series(source))}
    return tuple(sorted(wanted, key=lambda n: places.get(n.patches[0].name, 0)))
