"""`suture els status`: where the fixes stand that older releases lack."""

from __future__ import annotations

import argparse
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING

from suture.cli.els import option
from suture.cli.els.live import update_of
from suture.cli.output import print_document, print_table
from suture.error import ExitCode
from suture.report.document import ElsStatusReport
from suture.report.els import ElsHoleState
from suture.report.moment import now

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from suture.els.shelf import BuiltShelf
    from suture.report.document import ElsBuildReport
    from suture.report.els import ElsPackage
    from suture.report.reason import Cause

SUMMARY = "show where each fix stands"
HELP = """\
Show where each fix stands that a package of the older release lacks: from what
`suture els build` and `suture els watch` have kept, without a look at the archive.

A hole is closed for hosts once its package is published (`fixed in a package`), or in running processes by a live
patch (the column `live`). The rest is open, with the reason. `not affected, not proved` means that the older release
lacks the files or names that the fix is about. That proves nothing: a person has to look."""
EXAMPLES = (
    "suture els status --output built --repository repository --patches patches",
    "suture els status freetype --output built --json",
)
EXIT_CODES = (ExitCode.OK, ExitCode.USAGE, ExitCode.PARTIAL, ExitCode.NOT_FOUND)
_CLOSED = (ElsHoleState.PACKAGE, ElsHoleState.THERE)


def arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("package", nargs="?", default="", metavar="PACKAGE", help="a source package (default: all)")
    option.add_shelf(parser)
    option.add_patches(parser)
    option.add_repository_folder(parser)


def run(args: argparse.Namespace) -> int:
    from suture.els.shelf import BuiltShelf
    from suture.error import NotFound

    found = packages(BuiltShelf(args.output), args.repository, args.patches, args.package)
    if not found:
        raise NotFound(
            f"{args.output} says nothing of {args.package or 'any package'}",
            "suture els watch --once --package NAME looks at packages and keeps what comes of them",
        )
    return tell(args, found, {})


def packages(shelf: BuiltShelf, repository: Path, patches: Path, package: str = "") -> tuple[ElsPackage, ...]:
    """Where packages stand, from what lies on disk."""
    from suture.els.standing import standing

    found = []
    for carried in shelf.carried(package):
        builds = list(shelf.builds(carried.package))
        accepted = {b.made for b in builds if shelf.is_accepted(b)}
        published = {b.made for b in builds if _is_published(b, repository)}
        found.append(standing(carried, builds, accepted, published, _live(builds, patches)))
    return tuple(found)


def _is_published(build: ElsBuildReport, repository: Path) -> bool:
    from suture.els.source_package import SUITE

    sources = repository / "dists" / f"{build.release}{SUITE}" / "main/source/Sources"
    dsc = next((f for f in build.files if f.name.endswith(".dsc")), None)
    return dsc is not None and sources.is_file() and dsc.sha256 in sources.read_text()


def _live(builds: Sequence[ElsBuildReport], patches: Path) -> dict[str, str]:
    """What came of the live patches of packages, by CVE."""
    from suture.convert.store import is_done, load

    found: dict[str, str] = {}
    for update in (update_of(b) for b in builds):
        if is_done(update, patches):
            found |= {c.cve: c.closing.value for c in load(update, patches).cves}
    return found


def tell(args: argparse.Namespace, found: tuple[ElsPackage, ...], problems: Mapping[str, Cause]) -> int:
    """Print where packages stand; the exit code."""
    holes = [h for p in found for h in p.holes]
    code = ExitCode.OK if all(h.state in _CLOSED for h in holes) and not problems else ExitCode.PARTIAL
    if args.json:
        print_document(ElsStatusReport(now(), code, found, problems))
        return code
    rows = [
        (
            p.package,
            " ".join(h.cves) or ", ".join(h.patches),
            h.state.value,
            h.made or "-",
            h.live or "-",
            _why(h.reasons),
        )
        for p in found
        for h in p.holes
    ]
    if rows:
        print_table(("package", "CVE", "state", "version", "live", "why"), rows)
    for name, problem in problems.items():
        print(f"{name}: {problem.text}; {problem.remedy}")
    counts = Counter(h.state.value for h in holes)
    print(
        f"{len(found)} package{'s' * (len(found) != 1)}: "
        + (", ".join(f"{n} {state}" for state, n in counts.items()) or "no fix is missing")
    )
    return code


def _why(reasons: Sequence[str]) -> str:
    return (reasons[0] + (f" (and {len(reasons) - 1} more)" if len(reasons) > 1 else "")) if reasons else "-"
