"""`suture feed check`: whether a feed is whole, signed and not expired."""

from __future__ import annotations

import argparse

from suture.cli.feed import option
from suture.cli.feed.told import count, report, tell
from suture.cli.output import progress
from suture.error import ExitCode

SUMMARY = "look at all that is published: whole, signed, not expired"
HELP = """\
Look at every role, statement and patch of a feed as it is served: whether it is there, what its keys have signed, and
not expired. Suture changes nothing."""
EXAMPLES = ("suture feed check --feed feed", "# all patches", "suture feed check --feed feed --list")
EXIT_CODES = (ExitCode.OK, ExitCode.USAGE, ExitCode.NOT_FOUND, ExitCode.UNTRUSTED)


def arguments(parser: argparse.ArgumentParser) -> None:
    option.add_feed(parser)
    parser.add_argument("--list", action="store_true", help="list all patches, withdrawn ones too")


def run(args: argparse.Namespace) -> int:
    from suture.feed import change, inspection
    from suture.feed.error import BadFeed
    from suture.report.feed import OfferState

    feed = option.repository(args)
    state = feed.published()
    if state is None:
        raise BadFeed(
            f"{args.feed}: nothing is published, where a new feed has a first state", "take it back from a copy"
        )
    staged = change.staged(feed)
    what = f"{count(len(staged.added), 'patch', 'es')} and {count(len(staged.withdrawn), 'withdrawal')}"
    notes = (f"staged: {what}; suture feed publish puts them in force",) if staged.paths else ()
    with progress(args) as step:
        found = inspection.inspect(state, progress=step)
    problems = (*found.problems, *inspection.expiring(state, option.time()))
    gone = tuple(o for o in found.offers if o.state is not OfferState.OFFERED)
    code = ExitCode.UNTRUSTED if problems else ExitCode.OK
    version = state.timestamp.signed.version
    said = f"version {version}: {count(len(found.offers), 'patch', 'es')}, {len(gone)} of them withdrawn"
    offers = tuple(o for o in found.offers if o not in gone)
    document = report(
        "check", args.feed, code, version=version, problems=problems, notes=notes,
        added=offers if args.list else (), withdrawn=gone if args.list else (),
    )  # fmt: skip
    return tell(args, document, said)
