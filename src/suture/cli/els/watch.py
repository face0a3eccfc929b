"""`suture els watch`: the whole way by itself, from a fix of the newer release to packages and live patches."""

from __future__ import annotations

import argparse
import os
import time
from typing import TYPE_CHECKING

from suture.cli.els import option
from suture.cli.els.build import build, carried_report
from suture.cli.els.live import convert, may_go_out, update_of
from suture.cli.els.publish import publish
from suture.cli.els.status import packages, tell
from suture.cli.feed import add
from suture.cli.feed.option import repository
from suture.cli.number import seconds
from suture.cli.output import progress
from suture.error import BadOption, ExitCode, SutureError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from suture.els.need import Need
    from suture.els.package import PackageWish
    from suture.els.shelf import BuiltShelf
    from suture.feed.repository import Repository
    from suture.progress import Progress
    from suture.report.reason import Cause

SUMMARY = "do all of it for new fixes, without a person"
HELP = """\
Look at packages, and do for each what can be done without a person: compare both releases, carry the fixes, build a new
version of the package and compare it, make live patches, stage them for a feed (--feed), and publish what is graded
safe.

What needs a look waits: `suture els status` lists it with the reason. A package that was built with the same fixes
before is not built again. One that fails does not keep the others. Kill it at any moment: what lies in the folders is
whole, and the next pass does the rest."""
EXAMPLES = (
    "# one pass over two packages",
    "suture els watch --once --package freetype --package libxslt --output built --patches patches "
    "--repository repository --key els@example.org",
)
EXIT_CODES = (ExitCode.OK, ExitCode.USAGE, ExitCode.PARTIAL, ExitCode.NO_PERMISSION, ExitCode.NOT_FOUND)


def arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--once", action="store_true", help="one pass, then end (default: a pass every --interval)")
    parser.add_argument(
        "--package", action="append", default=[], metavar="NAME", help="a source package; may be repeated"
    )
    option.add_releases(parser)
    option.add_shelf(parser)
    option.add_patches(parser)
    option.add_repository(parser)
    option.add_feed(parser)
    parser.add_argument("--no-live", action="store_true", help="make no live patches")
    parser.add_argument(
        "--interval", type=seconds, default=86400.0, metavar="SECONDS", help="time between passes (default: 86400)"
    )


def run(args: argparse.Namespace) -> int:
    from suture.els.shelf import BuiltShelf
    from suture.els.signature import SigningKey

    if not args.package:
        raise BadOption("no package to watch", "give --package NAME")
    os.umask(0o022)
    SigningKey(args.key, args.gnupg_home).fingerprint()  # before hours are spent
    feed = repository(args) if args.feed else None
    shelf = BuiltShelf(args.output)
    while True:
        problems: dict[str, Cause] = {}
        with progress(args) as step:
            for name in dict.fromkeys(args.package):
                try:
                    left = _package(args, name, shelf, feed, step)
                    if left:
                        problems[name] = left[0]
                except SutureError as problem:
                    step(f"{name}: {problem.what}")
                    problems[name] = problem.cause
        publish(args, shelf)
        code = tell(args, packages(shelf, args.repository, args.patches), problems)
        if args.once:
            return code
        time.sleep(args.interval)


def _package(
    args: argparse.Namespace, name: str, shelf: BuiltShelf, feed: Repository | None, step: Progress
) -> Sequence[Cause]:
    """What of its live patches a feed does not take by itself."""
    from suture.convert.store import folder_of
    from suture.els.need import needs
    from suture.els.package import PackageWish

    old, newer = option.newest(name, args.release, step), option.newest(name, args.donor, step)
    wish = PackageWish(old, newer)
    wanted = needs(old, newer)
    inside = carry(wanted, wish, shelf)
    own = [b for b in shelf.builds(name) if b.version == old.version and {f.cves for f in b.fixes} >= inside]
    if inside and not own:
        own = [build(wanted, wish, args.donor, args.output, step)]
    live = [b for b in own if may_go_out(b, shelf)] if not args.no_live else []
    for report in live:
        convert(report, args.patches, step)
    if not feed:
        return ()
    offers, left = add.stage_kept(feed, [folder_of(update_of(b), args.patches) for b in live], step)
    step(add.said(offers))
    return left


def carry(wanted: tuple[Need, ...], wish: PackageWish, shelf: BuiltShelf) -> set[tuple[str, ...]]:
    """Carry a package's fixes and keep what came of each; the CVEs of those that need nobody to look."""
    from suture.els.package import sort

    found = sort(wanted, wish)
    shelf.keep_carried(carried_report(wish, found))
    return {f.need.cves for f in found.inside}
