"""`suture fleet holes`: the holes of the fleet."""

from __future__ import annotations

import argparse

from suture.cli.fleet import option
from suture.cli.number import count
from suture.cli.output import print_document, print_table
from suture.error import ExitCode
from suture.report.document import FleetHolesReport
from suture.report.moment import now

SUMMARY = "list holes"
HELP = """\
List the holes (CVEs) that hosts of the fleet have or had, with the number of hosts in each state, those open on most
hosts first."""
EXAMPLES = ("suture fleet holes --only open",)
EXIT_CODES = (ExitCode.OK, ExitCode.USAGE, ExitCode.NOT_FOUND)


def arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("text", nargs="?", default="", metavar="TEXT", help="those with this text in their number")
    parser.add_argument("--only", choices=("open", "kev"), default="", help="open, or known to be exploited, alone")
    parser.add_argument("--page", type=count, default=1, metavar="N", help="of a long list (default: 1)")
    option.add_database(parser)


def run(args: argparse.Namespace) -> int:
    from suture.fleet.hole import holes
    from suture.fleet.listing import ListWish
    from suture.fleet.role import Role, Visitor

    with option.database(args).reading() as session:
        found = holes(session, Visitor(option.who(), Role.ADMIN), ListWish.of(args.text, "", args.page), args.only)
    if args.json:
        print_document(FleetHolesReport(now(), int(ExitCode.OK), found.rows, found.total))
        return ExitCode.OK
    known = {True: "yes", False: "no", None: "?"}
    rows = [
        (h.cve, known[h.in_kev], h.cvss or "", ", ".join(f"{n} {s.value}" for s, n in h.hosts.items()), h.first_seen)
        for h in found.rows
    ]
    print_table(("HOLE", "EXPLOITED", "CVSS", "HOSTS", "FIRST SEEN"), rows)
    print(f"{found.total} in all; page {found.wish.page} of {found.pages}")
    return ExitCode.OK
