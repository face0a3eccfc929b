"""`suture fleet user`: people who may log in."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from suture.cli.fleet import option
from suture.cli.output import print_table
from suture.error import BadOption, ExitCode, NotFound
from suture.report.fleet import FleetAccount

SUMMARY = "make an account, or set its password; list them"
HELP = """\
Make an account, or give one that is there another password. The password is asked for, or read from --password-file
(one line). Roles are viewer, operator, approver and admin; each may do what those before it may.

With --list, list the accounts."""
EXAMPLES = (
    "suture fleet user ann --role admin",
    "suture fleet user bob --role operator --group web --password-file bob.txt",
    "suture fleet user --list",
)
EXIT_CODES = (ExitCode.OK, ExitCode.USAGE, ExitCode.NOT_FOUND)
_ROLES = ("viewer", "operator", "approver", "admin")


def arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("name", nargs="?", default="", metavar="NAME", help="the account's name")
    parser.add_argument("--list", action="store_true", help="list the accounts")
    parser.add_argument("--role", choices=_ROLES, help="of a new account (default: viewer)")
    parser.add_argument(
        "--group", action="append", default=[], metavar="GROUP", help="sees hosts of this group alone; may be repeated"
    )
    parser.add_argument("--password-file", type=Path, metavar="FILE", help="the password, in a line")
    option.add_database(parser)


def run(args: argparse.Namespace) -> int:
    if args.list != (not args.name):
        raise BadOption("give a name, or --list", "suture fleet user --help")
    return _list(args) if args.list else _keep(args)


def _list(args: argparse.Namespace) -> int:
    from sqlalchemy import select

    from suture.fleet.host import moment
    from suture.fleet.table import AccountRow

    with option.database(args).reading() as session:
        rows = session.scalars(select(AccountRow).order_by(AccountRow.name))
        found = tuple(FleetAccount(r.name, r.role, tuple(r.groups), moment(r.created), r.disabled) for r in rows)
    if not args.json:
        cells = [(a.name, a.role, " ".join(a.groups) or "all", a.created, "yes" if a.disabled else "") for a in found]
        print_table(("NAME", "ROLE", "GROUPS", "MADE", "DISABLED"), cells)
        return ExitCode.OK
    return option.tell(args, "user", accounts=found)


def _keep(args: argparse.Namespace) -> int:
    from sqlalchemy import select

    from suture.fleet import account
    from suture.fleet.role import Role
    from suture.fleet.table import AccountRow

    password = _password(args)
    with option.database(args).writing() as session:
        row = session.scalars(select(AccountRow).where(AccountRow.name == args.name)).first()
        if row is None:
            account.add(session, option.who(), args.name, password, Role(args.role or "viewer"), args.group)
        elif args.role or args.group:
            raise BadOption(
                f"there is an account {args.name}", "leave --role and --group out; the page of users changes them"
            )
        else:
            account.set_password(session, option.who(), args.name, password)
    return option.tell(args, "user", f"account {args.name} {'made' if row is None else 'has a new password'}")


def _password(args: argparse.Namespace) -> str:
    if args.password_file:
        try:
            return str(args.password_file.read_text().split("\n")[0])
        except (OSError, UnicodeDecodeError) as problem:
            raise NotFound(f"{args.password_file}: {problem}", "give a file that can be read") from problem
    if not sys.stdin.isatty():
        raise BadOption("there is no terminal to ask for the password", "give --password-file")
    from getpass import getpass

    return getpass(f"Password of {args.name}: ")
