"""`suture fleet waiting`: hosts without a token that wait to be let in."""

from __future__ import annotations

import argparse
from datetime import UTC, datetime

from suture.cli.fleet import option
from suture.cli.output import print_document, print_table
from suture.error import BadOption, ExitCode
from suture.report.document import FleetWaitingReport
from suture.report.moment import now

SUMMARY = "list hosts that wait to be let in, let one in, or turn it away"
HELP = """\
List the hosts that have asked without a token (suture agent enrol) and wait. Compare the fingerprint with the one that
the host shows, then let it in with --let-in, into --group, or turn its key away for a day with --turn-away. The list is
printed after that."""
EXAMPLES = (
    "suture fleet waiting",
    "suture fleet waiting --let-in 3f2a-90c1-77de-0b5e-1c2d-88aa-4e6f-9b01 --group web",
)
EXIT_CODES = (ExitCode.OK, ExitCode.USAGE, ExitCode.NOT_FOUND)


def arguments(parser: argparse.ArgumentParser) -> None:
    what = parser.add_mutually_exclusive_group()
    what.add_argument("--let-in", default="", metavar="FINGERPRINT", help="let the host with this key in")
    what.add_argument("--turn-away", default="", metavar="FINGERPRINT", help="refuse this key for a day")
    parser.add_argument("--group", default="", metavar="GROUP", help="with --let-in: the group that it comes into")
    option.add_database(parser)


def run(args: argparse.Namespace) -> int:
    from suture.fleet import applicant, enrolment
    from suture.fleet.role import Role, Visitor

    if args.group and not args.let_in:
        raise BadOption("--group goes with --let-in", "leave it out")
    who, at = Visitor(option.who(), Role.ADMIN), datetime.now(UTC)
    with option.database(args).writing() as session:
        if args.let_in:
            enrolment.admit(session, who, args.let_in, args.group[:64], at)
        elif args.turn_away:
            applicant.turn_away(session, who, args.turn_away, at)
        found = tuple(applicant.told(row) for row in applicant.waiting(session, at))
    if args.json:
        print_document(FleetWaitingReport(now(), int(ExitCode.OK), found))
    else:
        rows = [(a.fingerprint, a.name, a.address, a.asked) for a in found]
        print_table(("FINGERPRINT", "NAME", "ADDRESS", "ASKED"), rows)
    return ExitCode.OK
