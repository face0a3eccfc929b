"""`suture fleet hosts`: the hosts of the fleet."""

from __future__ import annotations

import argparse

from suture.cli.fleet import option
from suture.cli.number import count
from suture.cli.output import print_document, print_table
from suture.error import ExitCode
from suture.report.document import FleetHostsReport
from suture.report.moment import now

SUMMARY = "list hosts"
HELP = """\
List the hosts of the fleet, those with most open holes first: when they were heard of last, and how many holes are open
there. A host that is away is unknown since then."""
EXAMPLES = ("suture fleet hosts", "suture fleet hosts --only away --json")
EXIT_CODES = (ExitCode.OK, ExitCode.USAGE, ExitCode.NOT_FOUND)


def arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "text", nargs="?", default="", metavar="TEXT", help="those with this text in name, group or kernel"
    )
    parser.add_argument("--only", choices=("open", "away", "cloned", "withdrawn"), default="", help="those alone")
    parser.add_argument("--page", type=count, default=1, metavar="N", help="of a long list (default: 1)")
    option.add_database(parser)


def run(args: argparse.Namespace) -> int:
    from suture.fleet.host import hosts
    from suture.fleet.listing import ListWish
    from suture.fleet.role import Role, Visitor

    with option.database(args).reading() as session:
        found = hosts(session, Visitor(option.who(), Role.ADMIN), ListWish.of(args.text, "", args.page), args.only)
    if args.json:
        print_document(FleetHostsReport(now(), int(ExitCode.OK), found.rows, found.total))
        return ExitCode.OK
    rows = [
        (
            h.name,
            h.group,
            h.open_holes,
            f"unknown since {h.away_since}" if h.away_since else h.last_seen,
            h.kernel,
            h.id,
        )
        for h in found.rows
    ]
    print_table(("NAME", "GROUP", "OPEN", "HEARD OF", "KERNEL", "ID"), rows)
    print(f"{found.total} in all; page {found.wish.page} of {found.pages}")
    return ExitCode.OK
