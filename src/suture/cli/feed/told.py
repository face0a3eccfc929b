"""How an action of `suture feed` tells what it did."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path

from suture.cli.output import print_document, print_table
from suture.error import ExitCode
from suture.report.document import FeedReport
from suture.report.feed import FeedRole, Offer, OfferState
from suture.report.moment import now
from suture.report.reason import Cause


def report(
    action: str,
    folder: Path,
    code: ExitCode = ExitCode.OK,
    *,
    version: int = 0,
    roles: Sequence[FeedRole] = (),
    signed: Sequence[str] = (),
    added: Sequence[Offer] = (),
    withdrawn: Sequence[Offer] = (),
    left_out: Sequence[Cause] = (),
    problems: Sequence[Cause] = (),
    notes: Sequence[str] = (),
) -> FeedReport:
    """The document of an action."""
    lists = (
        tuple(roles),
        tuple(signed),
        tuple(added),
        tuple(withdrawn),
        tuple(left_out),
        tuple(problems),
        tuple(notes),
    )
    return FeedReport(now(), int(code), action, str(folder), version, *lists)


def tell(args: argparse.Namespace, found: FeedReport, *lines: str) -> int:
    """Print the document, or these lines and what it lists. The exit code."""
    if args.json:
        print_document(found)
        return found.exit_code
    for line in lines:
        print(line)
    print_offers(found.added)
    for offer in found.withdrawn:
        print(f"{offer.patch} {offer.binary}: {_STATE[offer.state]}{f' ({offer.reason})' if offer.reason else ''}")
    if found.roles:
        print_table(
            ("role", "version", "expires", "signatures", "keys (* at hand)"),
            [(r.name, r.version, r.expires, f"{r.threshold} of {len(r.keys)}", _ids(r)) for r in found.roles],
        )
    print_causes("left out", found.left_out)
    print_causes("problem", found.problems)
    for note in found.notes:
        print(f"note: {note}")
    return found.exit_code


def print_causes(word: str, causes: Sequence[Cause]) -> None:
    for cause in causes:
        print(f"{word}: {cause.text}")
        print(f"  remedy: {cause.remedy}")


_STATE = {
    OfferState.OFFERED: "offered again",
    OfferState.HOLD: "on hold, hosts put it into no further process",
    OfferState.REVERT: "hosts take it out",
}


def count(number: int, word: str, plural: str = "s") -> str:
    """A number with its noun."""
    return f"{number} {word}{plural if number != 1 else ''}"


def print_offers(offers: Sequence[Offer]) -> None:
    """Patches of a feed as a table."""
    if offers:
        print_table(
            ("patch", "product", "binary", "source", "grade", "trial", "CVEs"),
            [
                (
                    o.patch,
                    o.product.value,
                    o.binary,
                    f"{o.source} {o.version}",
                    o.grade,
                    o.trial or "none",
                    " ".join(o.cves),
                )
                for o in offers
            ],
        )


def _ids(role: FeedRole) -> str:
    return " ".join(f"{i[:8]}{'*' if i in role.held else ''}" for i in role.keys)
