"""`suture feed import`: a bundle becomes a mirror that hosts read."""

from __future__ import annotations

import argparse
from pathlib import Path

from suture.cli.feed import option
from suture.cli.feed.told import count, report, tell
from suture.cli.output import progress
from suture.error import ExitCode

SUMMARY = "take in a file that export wrote, checked as a host checks it"
HELP = """\
Take a bundle into a mirror: a folder whose `public` hosts read over a web server, or as file:///DIR/public. It is
checked as a host checks a feed: signed by the feed's keys, whole, not expired, and not older than what was imported
before. Otherwise nothing is taken in."""
EXAMPLES = (
    "# the first time with the feed's root.json",
    "suture feed import bundle.tar --mirror /srv/feed --root root.json",
    "suture feed import bundle.tar --mirror /srv/feed",
)
EXIT_CODES = (ExitCode.OK, ExitCode.USAGE, ExitCode.NOT_FOUND, ExitCode.UNTRUSTED, ExitCode.REFUSED)


def arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("bundle", type=Path, metavar="FILE", help="a file that `suture feed export` wrote")
    parser.add_argument(
        "--mirror", type=Path, required=True, metavar="DIR", help="the mirror's folder; made the first time"
    )
    parser.add_argument("--root", type=Path, metavar="FILE", help="the feed's root.json, needed the first time")


def run(args: argparse.Namespace) -> int:
    from suture.feed import bundle
    from suture.feed.settings import stamp

    with progress(args) as step:
        seen, carried = bundle.take_in(args.bundle, args.mirror, option.root(args), progress=step)
    note = f"hosts believe it until {stamp(seen.expires)}: import a newer bundle before that"
    found = report("import", args.mirror, version=seen.version, added=carried.offers, notes=(note,))
    return tell(args, found, f"{args.mirror}: version {seen.version}, {count(len(carried.offers), 'patch', 'es')}")
