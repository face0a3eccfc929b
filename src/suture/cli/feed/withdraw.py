"""`suture feed withdraw`: stage a newer statement about a patch that hosts have."""

from __future__ import annotations

import argparse

from suture.cli.feed import option
from suture.cli.feed.told import report, tell
from suture.cli.output import progress
from suture.error import ExitCode, NotFound

SUMMARY = "stage the withdrawal of a patch"
HELP = """\
Withdraw a patch. Nothing that is published is ever taken away: the feed says something newer about the patch, signed
as the patch was, and hosts act by it. `--hold`: hosts put it into no further process and leave it where it is.
`--revert`: hosts take it out of the processes that have it. `--again` offers it again. It comes into force with the
next `suture feed publish`."""
EXAMPLES = (
    "suture feed withdraw 0123456789abcdef --feed feed --revert --reason 'nginx fails with HTTP/2'",
    "suture feed withdraw 0123456789abcdef --feed feed --again --reason 'it was the client'",
)
EXIT_CODES = (ExitCode.OK, ExitCode.USAGE, ExitCode.NOT_FOUND, ExitCode.REFUSED)


def arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("patch", metavar="ID", help="the patch's id (16 digits)")
    option.add_feed(parser)
    how = parser.add_mutually_exclusive_group(required=True)
    how.add_argument("--hold", dest="state", action="store_const", const="hold", help="no further process gets it")
    how.add_argument("--revert", dest="state", action="store_const", const="revert", help="hosts take it out")
    how.add_argument("--again", dest="state", action="store_const", const="offered", help="it is offered again")
    parser.add_argument("--reason", required=True, metavar="TEXT", help="why, for those who read it on a host")


def run(args: argparse.Namespace) -> int:
    from dataclasses import replace

    from suture.feed import change, inspection
    from suture.report.feed import OfferState

    feed = option.repository(args)
    new = OfferState(args.state)
    with feed.locked(), progress(args) as step:
        state = feed.published()
        step("looking for the patch")
        rows = inspection.statements(state) if state else ()
        offer = next((o for s in rows for o in s.offers if o.patch == args.patch), None)
        dropped = change.unstage(feed, args.patch) if new is not OfferState.OFFERED else None
        if offer is not None:
            change.stage_withdrawal(
                feed, change.Withdrawal(offer.product, offer.build_id, offer.patch, new, args.reason)
            )
    if offer is None and dropped is not None:
        return tell(
            args, report("withdraw", args.feed), f"{args.patch} was staged and not published: it is not staged any more"
        )
    if offer is None:
        raise NotFound(f"{args.feed}: no patch {args.patch} is published", "suture feed check --list names all")
    said = replace(offer, state=new, reason=args.reason)
    return tell(
        args, report("withdraw", args.feed, withdrawn=(said,)), "staged; it comes into force with: suture feed publish"
    )
