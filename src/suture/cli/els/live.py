"""`suture els live`: the fixes of a built package become live patches for what hosts of the release run."""

from __future__ import annotations

import argparse
import getpass
import os
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from suture.cli.els import option
from suture.cli.feed import add
from suture.cli.feed.option import repository
from suture.cli.feed.told import print_causes, print_offers
from suture.cli.output import print_document, progress
from suture.cli.watch import print_conversion
from suture.error import ExitCode
from suture.progress import Clock
from suture.report.document import ElsLiveReport
from suture.report.els import ElsGrade
from suture.report.moment import now

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from suture.convert.result import Conversion
    from suture.els.shelf import BuiltShelf
    from suture.progress import Progress
    from suture.report.document import ElsBuildReport
    from suture.report.feed import Offer
    from suture.report.reason import Cause
    from suture.source.fix import Fix
    from suture.source.update import Update

SUMMARY = "make live patches of a built package's fixes"
HELP = """\
Make live patches of the fixes that `suture els build` has put into a package, for the binaries of the version that they
were built on: what hosts of the release run now.

The same is done as by `suture watch` with an update of the archive. Each patch is proved against the shipped binary,
and tried on it in a sandbox before it is kept. Patches and facts lie in --patches, as `suture watch` keeps them.

With --feed they are staged for a feed as `suture feed add` does it: what is graded safe and has passed its trial. The
rest is listed. `suture feed publish` brings them to the hosts.

Only packages that are graded safe or that a person has accepted are converted."""
EXAMPLES = (
    "suture els live freetype --output built --patches patches",
    "# and into a feed",
    "suture els live freetype --output built --patches patches --feed feed",
    "suture feed publish --feed feed --keys keys",
)
EXIT_CODES = (
    ExitCode.OK,
    ExitCode.USAGE,
    ExitCode.REFUSED,
    ExitCode.PARTIAL,
    ExitCode.NO_PERMISSION,
    ExitCode.NOT_FOUND,
    ExitCode.COMMAND,
)


@dataclass(frozen=True)
class _Backported:
    """The fixes of a built package, as a conversion takes them."""

    fixes: tuple[Fix, ...]
    cves: tuple[str, ...]
    candidates: Mapping[str, tuple[str, ...]]


def arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("package", metavar="PACKAGE", help="a source package that suture els build has built")
    option.add_shelf(parser)
    option.add_patches(parser)
    option.add_feed(parser)
    option.add_accept(parser)
    parser.add_argument("--again", action="store_true", help="convert a package again that was converted before")


def run(args: argparse.Namespace) -> int:
    from suture.convert.store import as_json, folder_of
    from suture.els.shelf import BuiltShelf
    from suture.error import NotFound, Refused

    os.umask(0o022)
    feed = repository(args) if args.feed else None
    shelf = BuiltShelf(args.output)
    for word in args.accept:
        shelf.accept(word, getpass.getuser())
    builds = list(shelf.builds(args.package))
    if not builds:
        raise NotFound(f"{args.output} has no package {args.package}", f"build it: suture els build {args.package}")
    allowed = [b for b in builds if may_go_out(b, shelf)]
    if not allowed:
        raise Refused(
            f"{args.package} {builds[-1].made} needs a person's look: {'; '.join(builds[-1].doubts)}",
            f"look at it, and give --accept {args.package}={builds[-1].made}",
        )
    offers: tuple[Offer, ...] = ()
    left: Sequence[Cause] = ()
    with progress(args) as step:
        found = [convert(b, args.patches, step, args.again) for b in allowed]
        if feed:
            offers, left = add.stage_kept(feed, [folder_of(update_of(b), args.patches) for b in allowed], step)
    whole = all(c.patches and not c.problem for c in found) and not left
    code = ExitCode.OK if whole else ExitCode.PARTIAL
    if args.json:
        print_document(ElsLiveReport(now(), int(code), tuple(as_json(c) for c in found), offers, tuple(left)))
        return code
    for conversion in found:
        print_conversion(conversion)
    if feed:
        print(add.said(offers))
        print_offers(offers)
        print_causes("left out", left)
    return code


def may_go_out(report: ElsBuildReport, shelf: BuiltShelf) -> bool:
    """Whether nobody has to look at a package, or a person has."""
    return report.grade is ElsGrade.SAFE or shelf.is_accepted(report)


def update_of(report: ElsBuildReport) -> Update:
    """A built package as the update that it is for hosts."""
    from suture.source.update import Update

    return Update(report.package, report.release, report.version, report.made)


def convert(report: ElsBuildReport, patches: Path, progress: Progress, again: bool = False) -> Conversion:
    """The conversion of a built package, made once."""
    from suture.convert.conversion import convert_fixes
    from suture.convert.store import folder_of, is_done, keep, load
    from suture.els.shelf import PATCHES
    from suture.source.archive import Archive
    from suture.source.fix import parse

    update = update_of(report)
    if is_done(update, patches) and not again:
        return load(update, patches)
    old = Archive(report.release, progress).source(report.package, report.version)
    fixes = []
    for one in report.fixes:
        text = (Path(report.folder) / PATCHES / one.patch).read_bytes().decode(errors="surrogateescape")
        fixes.append(replace(parse(text, one.patch, lambda path: (old.tree / path).is_file()), cves=one.cves))
    cves = tuple(sorted({c for f in report.fixes for c in f.cves}))
    folder = folder_of(update, patches)
    folder.mkdir(parents=True, exist_ok=True)
    found = convert_fixes(update, old, _Backported(tuple(fixes), cves, {}), folder, Clock(), progress)
    keep(found, folder)
    return found
