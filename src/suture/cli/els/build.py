"""`suture els build`: backported fixes become a new version of a package."""

from __future__ import annotations

import argparse
import os
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from suture.cli.els import option
from suture.cli.els.backport import fix_row
from suture.cli.output import print_document, print_table, progress
from suture.error import ExitCode
from suture.report.document import BackportReport, ElsBuildReport
from suture.report.els import BuiltDifference, BuiltFile, BuiltFix, ElsGrade
from suture.report.moment import now

if TYPE_CHECKING:
    from collections.abc import Sequence

    from suture.els.need import Need
    from suture.els.package import BuiltPackage, PackageWish, SortedFixes
    from suture.els.source_package import CarriedFix
    from suture.progress import Progress

SUMMARY = "build a package with the fixes that it lacks"
HELP = """\
Build a new version of a package with the fixes that a newer release has.

The fixes go to the end of the package's series of patches, each with where it came from, and into its changelog. The
new version has +suture1 at its end: hosts upgrade to it from the present one, and from it to any later update of the
release. A clean room of the release builds it, without a network. The package's own tests run as its rules have it.

Suture builds the package without the fixes too, in the same room, and compares: the tests, the files, what code needs
and offers, and each function. It compares with what the archive ships as well. A second build tells whether the bytes
come out the same.

A package is graded safe if all fixes fit by their lines, its tests say what they said before, and no other function
changes than the fixes name. Else its grade is review, and `suture els publish` takes it only with a person's word.
Fixes that need review stay out unless you say --with-review, and so does one that the older release does not compile
with: it is told, and the others go on."""
EXAMPLES = (
    "# all fixes that need nobody to look",
    "suture els build freetype --output built",
    "# one fix, looked at by you",
    "suture els build curl --fix CVE-2026-3784 --with-review --output built",
    "# one that you finished by hand",
    "suture els build expat --fix CVE-2024-8176 --patch CVE-2024-8176=drafts/CVE-2024-8176.patch --output built",
)
EXIT_CODES = option.BUILD_EXIT_CODES
_MANY = 12  # differences that are printed; --json has them all


def arguments(parser: argparse.ArgumentParser) -> None:
    option.add(parser)
    option.add_fix(parser, " (default: all that is missing)")
    parser.add_argument("--with-review", action="store_true", help="put in fixes that a person has to look at, too")
    parser.add_argument(
        "--patch",
        action="append",
        default=[],
        metavar="CVE=FILE",
        help="take this patch of yours for the older source in place of what would be carried; may be repeated",
    )
    parser.add_argument("--once", action="store_true", help="do not build a second time to compare the bytes")
    parser.add_argument(
        "--maintainer", metavar="NAME <EMAIL>", help="who signs the changelog entry (default: a name without a person)"
    )
    option.add_shelf(parser)


def run(args: argparse.Namespace) -> int:
    from suture.els.need import chosen, needs
    from suture.els.package import MAINTAINER, PackageWish

    os.umask(0o022)  # package code runs as another user, and reads what is written here
    own = dict(by_hand_option(word) for word in args.patch)
    with progress(args) as step:
        old, newer = option.sources(args, step)
        wish = PackageWish(old, newer, args.maintainer or MAINTAINER, args.with_review, not args.once, own)
        report = build(chosen(newer, args.fix) if args.fix else needs(old, newer), wish, args.donor, args.output, step)
    if args.json:
        print_document(report)
    else:
        print_build(report)
    return report.exit_code


def by_hand_option(word: str) -> tuple[str, str]:
    """CVE and text of a person's patch."""
    from suture.error import BadOption

    cve, sign, path = word.partition("=")
    if not sign or not path:
        raise BadOption(f"{word!r} is no CVE=FILE", "suture els review --drafts DIR writes such files")
    return cve, Path(path).read_bytes().decode(errors="surrogateescape")


def build(wanted: Sequence[Need], wish: PackageWish, donor: str, output: Path, progress: Progress) -> ElsBuildReport:
    """Build a package and keep it in `output`. A fix that does not compile in the older release stays out. Raises
    `Refused` where no fix goes in, and what `package.make` raises."""
    from suture import whole_file
    from suture.els import patch, version
    from suture.els.compiler import NotCompiled
    from suture.els.package import make, sort
    from suture.els.shelf import PATCHES, BuiltShelf
    from suture.error import Refused
    from suture.source import cache

    progress(f"carrying {len(wanted)} fixes to {wish.old.name} {wish.old.version}")
    shelf = BuiltShelf(output)
    place = shelf.place(wish.old.name, version.successor(wish.old.version, wish.old.release))
    with cache.scratch_folder(output) as scratch:
        while True:
            found = sort(wanted, wish)
            shelf.keep_carried(carried_report(wish, found))
            if not found.inside:
                raise Refused(
                    f"{wish.old.name} {wish.old.version}: none of {len(wanted)} fixes goes in by itself",
                    "suture els backport says why; --with-review puts in those that were carried and need a look",
                )
            try:
                made = make(found.inside, wish, scratch / "package", progress)
                break
            except NotCompiled as refused:
                if any(c in wish.by_hand for f in found.inside if f.need.name in refused.broken for c in f.need.cves):
                    raise
                for name, said in refused.broken.items():
                    progress(f"{name} stays out, it does not compile: {said}")
                wish = replace(wish, broken={**wish.broken, **refused.broken})
        cache.discard(place)
        place.parent.mkdir(parents=True, exist_ok=True)
        made.build.folder.rename(place)
    for fix in found.inside:
        text = patch.text(fix.need, fix.found, wish.newer).encode(errors="surrogateescape")
        whole_file.replace(place / PATCHES / fix.name, text)
    report = _report(wish, donor, found, made, place)
    shelf.keep(report)
    return report


def carried_report(wish: PackageWish, found: SortedFixes) -> BackportReport:
    """What came of carrying fixes."""
    rows = (
        *(fix_row(f.need, f.found, None) for f in found.inside),
        *(fix_row(need, one, None) for need, one in found.left_out),
    )
    return BackportReport(now(), ExitCode.OK, wish.old.name, wish.old.version, wish.newer.version, rows)


def _report(wish: PackageWish, donor: str, found: SortedFixes, made: BuiltPackage, place: Path) -> ElsBuildReport:
    from suture.els.grade import worst

    fixes = tuple(_fix(f, wish) for f in found.inside)
    return ElsBuildReport(
        now(),
        ExitCode.PARTIAL if found.left_out else ExitCode.OK,
        wish.old.name,
        wish.old.release,
        wish.old.version,
        donor,
        wish.newer.version,
        made.version,
        worst([*made.doubts, *(d for f in fixes for d in f.doubts)]),
        made.doubts,
        fixes,
        tuple(fix_row(need, one, None) for need, one in found.left_out),
        made.tests,
        made.differences,
        made.archive,
        None if made.varying is None else not made.varying,
        made.varying or (),
        str(place.absolute()),
        _files(place),
        made.seconds,
    )


def _fix(fix: CarriedFix, wish: PackageWish) -> BuiltFix:
    from suture.els.grade import doubts, worst

    origin = f"{wish.newer.name} {wish.newer.version}: {', '.join(p.name for p in fix.need.patches)}"
    found = doubts(fix.found)
    ways = tuple(f"{c.path} by {c.way.value}" for c in fix.found.carried)
    return BuiltFix(fix.need.cves, fix.name, origin, ways, worst(found), found)


def _files(place: Path) -> tuple[BuiltFile, ...]:
    import hashlib

    paths = sorted(p for p in place.iterdir() if p.is_file())
    return tuple(BuiltFile(p.name, p.stat().st_size, hashlib.sha256(p.read_bytes()).hexdigest()) for p in paths)


def print_build(report: ElsBuildReport, publish: str = "") -> None:
    """A build as text; `publish` is the command that publishes it with a person's word."""
    rows = [
        (" ".join(f.cves) or f.patch, f.grade.value, "; ".join(f.doubts) or ", ".join(f.ways)) for f in report.fixes
    ]
    for left in report.left_out:
        why = "; ".join(f.reason for f in left.findings) or "carried, and a person has to look (--with-review)"
        rows.append((" ".join(left.cves) or ", ".join(left.patches), f"left out: {left.state.value}", why))
    print_table(("fix", "grade", "how, or why"), rows)
    print(f"tests: {report.tests.outcome.value} ({report.tests.detail})")
    _print_differences(f"beside {report.version} built without the fixes", report.differences)
    _print_differences("beside what the archive ships", report.archive)
    if report.reproducible is not None:
        said = "the same bytes" if report.reproducible else f"other bytes in {', '.join(report.varying)}"
        print(f"built again: {said}")
    print(f"{report.package} {report.made}: {report.grade.value}")
    for doubt in report.doubts:
        print(f"  {doubt}")
    print(f"packages: {report.folder}")
    if report.grade is ElsGrade.REVIEW:
        publish = publish or f"suture els publish --accept {report.package}={report.made}"
        print(f"to publish it, say so yourself: {publish}")


def _print_differences(beside: str, found: Sequence[BuiltDifference]) -> None:
    print(f"{beside}: {len(found)} differences" if found else f"{beside}: no difference")
    for row in found[:_MANY]:
        print(f"  {row.package} {row.file}: {row.what}")
    if len(found) > _MANY:
        print(f"  and {len(found) - _MANY} more (--json has them all)")
