"""`suture fleet token`: a token that lets hosts in."""

from __future__ import annotations

import argparse
from datetime import UTC, datetime, timedelta

from suture.cli.fleet import option
from suture.cli.number import count
from suture.error import ExitCode

SUMMARY = "make a token that lets hosts in"
HELP = """\
Make a token with which hosts enrol (`suture agent enrol`), and print it. It is not shown again. It lets --hosts
hosts in, puts them into --group, and expires after --days days."""
EXAMPLES = ("suture fleet token --label web --hosts 10 --group web >token",)
EXIT_CODES = (ExitCode.OK, ExitCode.USAGE, ExitCode.NOT_FOUND)


def arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--label", default="", metavar="TEXT", help="what it is for, for the audit log")
    parser.add_argument("--hosts", type=count, default=1, metavar="N", help="how many hosts it lets in (default: 1)")
    parser.add_argument("--group", default="", metavar="GROUP", help="the group that they come into")
    parser.add_argument("--days", type=count, default=7, metavar="N", help="how long it lasts (default: 7)")
    option.add_database(parser)


def run(args: argparse.Namespace) -> int:
    from suture.fleet.enrolment import new_token

    with option.database(args).writing() as session:
        lasts = timedelta(days=args.days)
        secret = new_token(session, option.who(), args.label, args.group, args.hosts, datetime.now(UTC), lasts)
    return option.tell(args, "token", secret=secret)
