"""`suture feed withdraw`: stage a newer statement about a patch that hosts have."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

from suture.agent.beside import beside
from suture.cli.feed import option
from suture.cli.feed.told import report, tell
from suture.cli.output import progress
from suture.error import ExitCode, NotFound
from suture.report.feed import Offer, OfferState

if TYPE_CHECKING:
    from suture.feed.change import Staged

SUMMARY = "stage the withdrawal of a patch"
HELP = """\
Withdraw a patch. Nothing that is published is ever taken away: the feed says something newer about the patch, signed
as the patch was, and hosts act by it. `--hold`: hosts put it into no further process and leave it where it is.
`--revert`: hosts take it out of the processes that have it. `--again` offers it again. The patches of other binaries
that have parts of the same fix are held as long, since a part alone is not the fix. It comes into force with the next
`suture feed publish`."""
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
    from suture.feed import change, inspection

    feed = option.repository(args)
    new = OfferState(args.state)
    with feed.locked(), progress(args) as step:
        state = feed.published()
        step("looking for the patch")
        rows = [o for s in (inspection.statements(state) if state else ()) for o in s.offers]
        offer = next((o for o in rows if o.patch == args.patch), None)
        dropped = change.unstage(feed, args.patch) if new is not OfferState.OFFERED else None
        if offer is not None:
            told = _changes(offer, _to_be(rows, change.staged(feed)), args)
            for one in told:
                fate = change.Withdrawal(one.product, one.build_id, one.patch, one.state, one.reason, one.held_with)
                change.stage_withdrawal(feed, fate)
    if offer is None and dropped is not None:
        return tell(
            args, report("withdraw", args.feed), f"{args.patch} was staged and not published: it is not staged any more"
        )
    if offer is None:
        raise NotFound(f"{args.feed}: no patch {args.patch} is published", "suture feed check --list names all")
    return tell(
        args, report("withdraw", args.feed, withdrawn=told), "staged; it comes into force with: suture feed publish"
    )


def _to_be(rows: Sequence[Offer], staged: Staged) -> list[Offer]:
    """What is published, as what is staged leaves it."""
    found = {o.patch: o for o in (*rows, *(a.offer for a in staged.added))}
    for one in staged.withdrawn:
        if one.patch in found:
            old = found[one.patch]
            found[one.patch] = replace(old, state=one.state, reason=one.reason, held_with=one.held_with)
    return list(found.values())


def _changes(offer: Offer, rows: Sequence[Offer], args: argparse.Namespace) -> list[Offer]:
    """What the feed is to say from now on of the patch, and of the other parts of its fixes: each is held while one of
    them is withdrawn, where no other patch of that one's binary has its part. One that is withdrawn for itself stays
    so."""
    asked = replace(offer, state=OfferState(args.state), reason=args.reason, held_with="")
    group = [asked, *beside(offer, rows)]
    withdrawn = [o for o in group if o.state is not OfferState.OFFERED and not o.held_with]
    rest = [o for o in group if o not in withdrawn]
    offered = [o for o in (asked, *rows) if o.state is OfferState.OFFERED or o.held_with]
    found = [asked] if asked in withdrawn else []
    for one in rest:
        cause = next((w for w in withdrawn if one in beside(_alone(w, offered), rest)), None)
        if cause is not None:
            text = f"it has a part of the same fix as {cause.patch}, which is withdrawn: {cause.reason}"
            new = replace(one, state=OfferState.HOLD, reason=text, held_with=cause.patch)
        else:
            new = replace(one, state=OfferState.OFFERED, reason=args.reason, held_with="")
        if one is asked or (new.state, new.held_with) != (one.state, one.held_with):
            found.append(new)
    return found


def _alone(one: Offer, offered: Sequence[Offer]) -> Offer:
    """With the fixes alone of which no other patch that is offered has the part of its binary."""
    beyond = {f for o in offered if o.build_id == one.build_id and o.patch != one.patch for f in o.fixes}
    return replace(one, fixes=tuple(f for f in one.fixes if f not in beyond))
