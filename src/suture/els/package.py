"""A package with backported fixes: carried, built without and with them, compared, and built once more.

The fixes that nobody has to look at go in by themselves; the others only where they are asked for.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from pathlib import Path

from debian.debian_support import version_compare
from patiencediff import PatienceSequenceMatcher

from suture.compile.room import Room
from suture.els import own_tests, source_package, version
from suture.els.backport import Backport, CarriedFile
from suture.els.carry import Carrier
from suture.els.comparison import MeantChange, UnpackedPackages, compared, outside, unpacked
from suture.els.compiler import NotCompiled, refused_by_compiler
from suture.els.finding import Finding
from suture.els.grade import doubts, doubts_of_build
from suture.els.need import Need, ordered
from suture.els.outline import changed, sections
from suture.els.package_build import LOG, PackageBuild, build, building_room, varying
from suture.els.source_package import CarriedFix
from suture.els.token import names
from suture.error import NotFound, Refused
from suture.progress import Clock, Progress, silent
from suture.report.els import BuiltDifference, Objection, PackageTests, TestsOutcome
from suture.source import cache
from suture.source.archive import Archive, SourceVersion
from suture.source.packages import binary_packages
from suture.source.update import versions

_FAILED = "tests-failed"
_SETTING = "loopback, a user with a name"  # what tests find beside the room; a build without it says nothing
MAINTAINER = "Suture backports <backports@suture.invalid>"


@dataclass(frozen=True)
class PackageWish:
    """What is to be built: the two sources, and how. `with_review`: fixes that a person has to look at go in too;
    `twice`: build again and compare the bytes. `by_hand`: patches that a person made, by a CVE that each is for; they
    take the place of what would be carried. `broken`: fixes that stay out, by their names, with what a compiler said of
    them."""

    old: SourceVersion
    newer: SourceVersion
    maintainer: str = MAINTAINER
    with_review: bool = False
    twice: bool = True
    by_hand: Mapping[str, str] = field(default_factory=dict)
    broken: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class SortedFixes:
    """Fixes by what becomes of them: those that go in, and the others with what was found."""

    inside: tuple[CarriedFix, ...]
    left_out: tuple[tuple[Need, Backport], ...]


@dataclass(frozen=True)
class BuiltPackage:
    """What came of it. `archive` are differences to what the archive ships; `varying` the packages whose bytes a second
    build made differently, none where there was no second."""

    version: str
    build: PackageBuild
    doubts: tuple[str, ...]
    tests: PackageTests
    differences: tuple[BuiltDifference, ...]
    archive: tuple[BuiltDifference, ...]
    varying: tuple[str, ...] | None
    seconds: Mapping[str, float]


def sort(wanted: Sequence[Need], wish: PackageWish) -> SortedFixes:
    """Carry the fixes in their order. One that stays out leaves the source as it was for those after it. Raises
    `Refused` for a person's patch that does not fit, or is for no fix that is wanted."""

    def goes_in(found: Backport) -> bool:
        return wish.with_review or not doubts(found)

    missing = [cve for cve in wish.by_hand if not any(cve in n.cves for n in wanted)]
    if missing:
        raise Refused(
            f"{wish.old.name} {wish.old.version}: no fix that is wanted is for {', '.join(missing)}",
            "suture els plan lists what the older release lacks",
        )

    carrier = Carrier(wish.old, wish.newer)
    inside, left_out = [], []
    for need in ordered(wanted, wish.newer):
        own = next((wish.by_hand[c] for c in need.cves if c in wish.by_hand), None)
        if own is not None:
            inside.append(CarriedFix(need, carrier.take(need, own)))
            continue
        if need.name in wish.broken:
            left_out.append((need, _not_compiled(carrier.carry(need, lambda _: False), wish.broken[need.name])))
            continue
        found = carrier.carry(need, goes_in)
        if found.is_whole and goes_in(found):
            inside.append(CarriedFix(need, found))
        else:
            left_out.append((need, found))
    return SortedFixes(tuple(inside), tuple(left_out))


def _not_compiled(found: Backport, said: str) -> Backport:
    path = found.carried[0].path if found.carried else ""
    finding = Finding(Objection.UNKNOWN, path, "", f"the old release does not compile with it: {said}")
    return replace(found, findings=(*found.findings, finding))


def make(fixes: Sequence[CarriedFix], wish: PackageWish, folder: Path, progress: Progress = silent) -> BuiltPackage:
    """Build the package with the fixes in `folder`, which is made. Raises `NotCompiled` where a compiler refuses what a
    fix changes, `Refused` where it does not build otherwise or tests fail that did not fail before, and `Unsupported`
    for another source format."""
    old = wish.old
    source_package.check_format(old)
    made = version.successor(old.version, old.release)
    version.check(made, old.version, wish.newer.version)
    clock, archive = Clock(), Archive(old.release, progress)
    with clock.step("prepare"):
        where = building_room(old, archive, progress)
    with clock.step("without the fixes"):
        plain = built_without(old, where, progress)

    def lay_out(into: Path) -> None:
        source_package.write(into, old, wish.newer, fixes, made, wish.maintainer)

    with clock.step("build"):
        progress(f"building {old.name} {made}")
        one = _built(lay_out, where, folder, old)
        tests = own_tests.judged(plain, one)
        if tests.outcome is TestsOutcome.AS_BEFORE and not one.succeeded:
            progress(f"building {old.name} {made} without its tests, which fail here without the fixes too")
            one = _built(lay_out, where, folder, old, "nocheck")
    if not one.succeeded and (broken := refused_by_compiler(one.log, fixes)):
        raise NotCompiled(old, broken, _end(one.log))
    if tests.outcome is TestsOutcome.WORSE or not one.succeeded:
        raise Refused(
            f"{old.name} {made}: it builds without the fixes, and not with them: {tests.detail}\n{_end(one.log)}",
            "choose fewer fixes with --fix, or mend the patch that suture els backport writes",
        )
    with clock.step("compare"):
        progress(f"comparing {old.name} {made} with {old.version}")
        with cache.scratch_folder(cache.root() / "run") as scratch:
            after = unpacked(one.debs(), scratch / "after")
            before = unpacked(plain.debs(), scratch / "before")
            differences = compared(before, after, meant(fixes))
            shipped = outside(_shipped(old, archive), after)
    differing = None
    if wish.twice:
        with clock.step("build again"), cache.scratch_folder(cache.root() / "run") as scratch:
            progress(f"building {old.name} {made} again, to compare the bytes")
            differing = varying(one, _built(lay_out, where, scratch / "again", old, "nocheck"))
    said = (*_older_than_listed(old, archive), *doubts_of_build(tests, (*differences, *shipped)))
    return BuiltPackage(made, one, said, tests, differences, shipped, differing, clock.seconds)


def meant(fixes: Sequence[CarriedFix]) -> MeantChange:
    """What fixes change: functions by their names in the source, those of the same files that call one of them and may
    hold a copy of it (inlined), and the lines that move."""
    carried = [c for fix in fixes for c in fix.found.carried]
    before = {c.path: c.before or "" for c in reversed(carried)}
    after = {c.path: c.after or "" for c in carried}
    moved = frozenset(pair for path in after for pair in _moved(before[path], after[path]))
    return MeantChange(frozenset(name for c in carried for name in _reached(c)), moved)


def _moved(before: str, after: str) -> Iterator[tuple[int, int]]:
    matcher = PatienceSequenceMatcher(None, before.split("\n"), after.split("\n"))
    for old, new, length in matcher.get_matching_blocks():
        if old != new:
            yield from ((old + n, new + n) for n in range(1, length + 1))


def _reached(carried: CarriedFile) -> frozenset[str]:
    before, after = carried.before or "", carried.after or ""
    keys = set(changed(carried.path, before, after))
    old, new = (sections(carried.path, text) for text in (before, after))
    found = {s.name for s in (*old, *new) if s.is_function and s.key in keys}
    calls = [(s.name, names(s.text)) for s in new if s.is_function]
    while more := {name for name, used in calls if used & {f.rpartition("::")[2] for f in found}} - found:
        found |= more
    return frozenset(found)


def built_without(old: SourceVersion, where: Room, progress: Progress = silent) -> PackageBuild:
    """The package as it is, built in the same room; made once. Its log is that of a build with tests; if that fails,
    its packages are those of one without. Raises `Refused` where neither ends well."""
    key = hashlib.sha256(" ".join((*(x.name for x in where.layers), _SETTING)).encode()).hexdigest()[:16]
    place = cache.root() / "build" / old.name / f"{cache.safe(old.version)}-{key}"

    def make_it(folder: Path) -> None:
        progress(f"building {old.name} {old.version} as it is, to compare with")
        one = _built(lambda into: source_package.write(into, old, old, (), "", ""), where, folder, old)
        if one.succeeded:
            return
        progress(f"building {old.name} {old.version} without its tests, since they fail here")
        again = _built(lambda into: source_package.write(into, old, old, (), "", ""), where, folder, old, "nocheck")
        if not again.succeeded:
            raise Refused(
                f"{old.name} {old.version} does not build in the clean room of {old.release} as it is:\n"
                + _end(again.log),
                "choose another package",
            )
        (folder / LOG).write_text(one.log)
        (folder / _FAILED).touch()

    cache.item(place, make_it)
    return PackageBuild(place, not (place / _FAILED).exists(), (place / LOG).read_text(errors="replace"))


def _built(
    lay_out: Callable[[Path], None], where: Room, folder: Path, old: SourceVersion, *options: str
) -> PackageBuild:
    cache.discard(folder)
    folder.mkdir(parents=True)
    lay_out(folder)
    return build(where, folder, f"{old.name}-{old.upstream}", options)


def _shipped(old: SourceVersion, archive: Archive) -> UnpackedPackages:
    """What the archive ships of a source version; packages that do not arrive are left out."""
    roots = {}
    for name in binary_packages(old):
        with suppress(NotFound):
            roots[name] = archive.built_from(name, old.version)
    return UnpackedPackages(roots)


def _older_than_listed(old: SourceVersion, archive: Archive) -> tuple[str, ...]:
    newest = versions(old.name, archive)[-1]
    if version_compare(newest, old.version) <= 0:
        return ()
    return (f"{old.release} has {newest} too, which was not looked at: it may have these fixes already",)


def _end(log: str) -> str:
    return "\n".join(log.splitlines()[-15:]) or "there is no log"
