"""`suture feed export`: a feed, or a part of it, as one file."""

from __future__ import annotations

import argparse
from pathlib import Path

from suture.cli.feed import option
from suture.cli.feed.told import count, report, tell
from suture.cli.output import progress
from suture.error import ExitCode

SUMMARY = "write a feed to one file, for hosts without a network"
HELP = """\
Write what a feed serves to one tar file, to be carried to where no network leads. All in it is signed, so the way it
takes needs no trust. Its metadata expires as the feed's does: carry a newer one over before that."""
EXAMPLES = (
    "suture feed export --feed feed --output bundle.tar",
    "# the patches for some binaries alone",
    "suture feed export --feed feed --output bundle.tar --build-id 3fa1c0de",
)
EXIT_CODES = (ExitCode.OK, ExitCode.USAGE, ExitCode.NOT_FOUND)


def arguments(parser: argparse.ArgumentParser) -> None:
    option.add_feed(parser)
    parser.add_argument("--output", type=Path, required=True, metavar="FILE", help="the file to write")
    parser.add_argument(
        "--build-id", action="append", default=[], metavar="ID", help="only what is for this build-id; may be repeated"
    )


def run(args: argparse.Namespace) -> int:
    from suture.feed import bundle

    feed = option.repository(args)
    with feed.locked(), progress(args) as step:
        carried = bundle.export(feed, args.output, args.build_id, progress=step)
    found = report("export", args.feed, added=carried.offers)
    return tell(args, found, f"{args.output}: {count(len(carried.offers), 'patch', 'es')}, {carried.bytes} bytes")
