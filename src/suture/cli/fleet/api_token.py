"""`suture fleet api-token`: a token for a program."""

from __future__ import annotations

import argparse
from datetime import UTC, datetime, timedelta

from suture.cli.fleet import option
from suture.cli.number import count
from suture.error import ExitCode

SUMMARY = "make a token for a program"
HELP = """\
Make a token for a program, and print it. It is not shown again. The program sends it as `Authorization: Bearer
TOKEN`, and may do what --role may, for hosts of --group alone if it is given."""
EXAMPLES = ("suture fleet api-token --name monitoring --role viewer --days 365",)
EXIT_CODES = (ExitCode.OK, ExitCode.USAGE, ExitCode.NOT_FOUND)


def arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--name", required=True, metavar="NAME", help="what the audit log calls it")
    parser.add_argument(
        "--role", choices=("viewer", "operator", "approver", "admin"), default="viewer", help="its role"
    )
    parser.add_argument("--group", action="append", default=[], metavar="GROUP", help="hosts of this group alone")
    parser.add_argument("--days", type=count, default=90, metavar="N", help="how long it lasts (default: 90)")
    option.add_database(parser)


def run(args: argparse.Namespace) -> int:
    from suture.fleet import account
    from suture.fleet.role import Role, Visitor

    wished = Visitor(args.name, Role(args.role), tuple(args.group))
    with option.database(args).writing() as session:
        now, lasts = datetime.now(UTC), timedelta(days=args.days)
        secret = account.new_api_token(session, option.who(), args.name, wished, lasts, now)
    return option.tell(args, "api-token", secret=secret)
