"""`suture els review`: what waits for a person, and both sides of each fix."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

from suture.cli.els import option
from suture.cli.els.backport import fix_row
from suture.cli.output import print_document, print_table, progress
from suture.error import ExitCode
from suture.report.document import ElsReviewReport
from suture.report.els import ElsGrade, ReviewedFix
from suture.report.moment import now

if TYPE_CHECKING:
    from suture.els.shelf import BuiltShelf
    from suture.report.document import ElsBuildReport

SUMMARY = "show both sides of what waits for a person"
HELP = """\
Show a fix that waits for a person from both sides: what it changes in the newer release, what Suture made of it in the
older one, why it stopped, and each place where the older release has other text.

With --drafts the sides become files: CVE.newer.patch is the newer release's fix, CVE.patch what was carried of it.
Finish CVE.patch, then build with it: `suture els build PACKAGE --patch CVE=CVE.patch`. A package with a patch of yours
is published once you accept it.

Without --fix, all fixes that the older release lacks are shown that did not fit by their lines. What was built and
waits for your word stands below them, with the reasons."""
EXAMPLES = (
    "# one fix from both sides",
    "suture els review expat --fix CVE-2024-8176",
    "# as files to edit, and the package with the edited patch",
    "suture els review expat --fix CVE-2024-8176 --drafts drafts",
    "suture els build expat --fix CVE-2024-8176 --patch CVE-2024-8176=drafts/CVE-2024-8176.patch --output built",
)
EXIT_CODES = option.EXIT_CODES


def arguments(parser: argparse.ArgumentParser) -> None:
    option.add(parser)
    option.add_fix(parser, " (default: all that did not fit by their lines)")
    option.add_shelf(parser)
    parser.add_argument("--drafts", type=Path, metavar="DIR", help="write both sides there as patches")


def run(args: argparse.Namespace) -> int:
    from suture.els.carry import Carrier
    from suture.els.grade import doubts
    from suture.els.need import chosen, needs, ordered
    from suture.els.review import reviewed
    from suture.els.shelf import BuiltShelf

    found = []
    with progress(args) as step:
        old, newer = option.sources(args, step)
        wanted = chosen(newer, args.fix) if args.fix else needs(old, newer)
        carrier = Carrier(old, newer)
        for need in ordered(wanted, newer):
            step(f"carrying {need.name}")
            one = carrier.carry(need, lambda made: not doubts(made))
            if args.fix or not one.is_whole or doubts(one):
                found.append(reviewed(fix_row(need, one, None), need, one, carrier.newer, carrier.read))
    written = tuple(str(p) for fix in found for p in _drafts(args.drafts, fix)) if args.drafts else ()
    waiting = tuple(_waiting(BuiltShelf(args.output), args.package))
    code = ExitCode.PARTIAL if found or waiting else ExitCode.OK
    report = ElsReviewReport(now(), code, args.package, old.version, newer.version, tuple(found), waiting, written)
    if args.json:
        print_document(report)
    else:
        _print(report)
    return code


def _waiting(shelf: BuiltShelf, package: str) -> list[ElsBuildReport]:
    """Builds that need a person's word and have none."""
    return [b for b in shelf.builds(package) if b.grade is ElsGrade.REVIEW and not shelf.is_accepted(b)]


def _drafts(folder: Path, fix: ReviewedFix) -> list[Path]:
    from suture.whole_file import replace

    name = (fix.fix.cves or fix.fix.patches)[0].replace("/", "_").removesuffix(".patch")
    sides = {
        folder / f"{name}.newer.patch": "".join(f.newer for f in fix.files),
        folder / f"{name}.patch": "".join(f.older for f in fix.files),
    }
    for path, text in sides.items():
        replace(path, text.encode(errors="surrogateescape"))
    return list(sides)


def _print(report: ElsReviewReport) -> None:
    for one in report.fixes:
        _print_fix(one, report)
    if report.waiting:
        rows = [
            (b.made, " ".join(c for f in b.fixes for c in f.cves), "; ".join((*b.doubts, *_doubts(b))))
            for b in report.waiting
        ]
        print_table(("built", "CVEs", "what to look at"), rows)
        for b in report.waiting:
            print(f"to accept it: suture els publish --accept {b.package}={b.made}")
    for path in report.drafts:
        print(f"written: {path}")
    built = len(report.waiting)
    print(
        f"{report.package} {report.version}: {len(report.fixes)} fix{'es' * (len(report.fixes) != 1)} and "
        f"{built} built package{'s' * (built != 1)} to look at"
    )


def _doubts(build: ElsBuildReport) -> list[str]:
    return [d for f in build.fixes for d in f.doubts]


def _print_fix(one: ReviewedFix, report: ElsReviewReport) -> None:
    print(f"== {' '.join(one.fix.cves) or ', '.join(one.fix.patches)}: {one.fix.state.value}")
    for finding in one.fix.findings:
        print(f"   {finding.path}: {finding.reason}{f' ({finding.about})' if finding.about else ''}")
    for file in one.fix.files:
        print(f"   {file.path}: by {file.way.value}")
    for side in one.files:
        _print_text(f"-- {side.path} in {report.from_version}", side.newer)
        _print_text(f"-- {side.path} in {report.version}", side.older or "(nothing was made of it)\n")
        for n, place in enumerate(side.conflicts, 1):
            _print_text(f"-- {side.path}, place {n}: what the fix was made for", place.before)
            _print_text(f"-- {side.path}, place {n}: {report.version} has", place.older)
            _print_text(f"-- {side.path}, place {n}: the fix makes", place.newer)
    print()


def _print_text(head: str, text: str) -> None:
    print(head)
    for line in text.splitlines():
        print(f"   {line}")
