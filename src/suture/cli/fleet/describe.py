"""`suture fleet describe`: what a person says of a host."""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING

from suture.cli.fleet import option
from suture.cli.output import print_document
from suture.error import BadOption, ExitCode
from suture.report.document import FleetHostsReport
from suture.report.moment import now

if TYPE_CHECKING:
    from sqlalchemy.orm import Session

    from suture.fleet.table import HostRow

SUMMARY = "say of a host its group, tags, classes, and whether it is exposed"
HELP = """\
Write down what the server can't know of a host. HOST is its id, or its name where one host alone has it. What no option
names stays as it is; an option without a value takes away what was said."""
EXAMPLES = (
    "suture fleet describe web1 --tags canary --exposed yes",
    "suture fleet describe 3b6a27bcceb6a42d62a3a8d02a6f0d73 --group db --classes production",
)
EXIT_CODES = (ExitCode.OK, ExitCode.USAGE, ExitCode.NOT_FOUND)
_EXPOSED = {"yes": True, "no": False, "unknown": None}


def arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("host", metavar="HOST", help="an id or a name")
    parser.add_argument("--group", metavar="GROUP", help="the group, which decides who sees it")
    parser.add_argument("--tags", nargs="*", metavar="TAG", help="tags, which plans of rollouts name")
    parser.add_argument("--classes", nargs="*", metavar="CLASS", help="classes, which rules name")
    parser.add_argument("--exposed", choices=tuple(_EXPOSED), help="whether it is reached from the internet")
    option.add_database(parser)


def run(args: argparse.Namespace) -> int:
    from suture.fleet import host
    from suture.fleet.role import Role, Visitor

    if args.group is None and args.tags is None and args.classes is None and args.exposed is None:
        raise BadOption("nothing is said of the host", "give --group, --tags, --classes or --exposed")
    with option.database(args).writing() as session:
        row = _row(session, args.host)
        host.describe(
            session,
            Visitor(option.who(), Role.ADMIN),
            row,
            group=row.group if args.group is None else args.group[:64],
            tags=row.tags if args.tags is None else [t[:64] for t in args.tags],
            classes=row.classes if args.classes is None else [c[:64] for c in args.classes],
            exposed=row.exposed if args.exposed is None else _EXPOSED[args.exposed],
        )
        found = host.told(row)
    if args.json:
        print_document(FleetHostsReport(now(), int(ExitCode.OK), (found,), 1))
    else:
        exposed = {True: "yes", False: "no", None: "not known"}[found.exposed]
        print(f"{found.name}: group {found.group or 'none'}, tags {', '.join(found.tags) or 'none'}, ", end="")
        print(f"classes {', '.join(found.classes) or 'none'}, reached from the internet: {exposed}")
    return ExitCode.OK


def _row(session: Session, wanted: str) -> HostRow:
    """Raises `NoSuchThing`, and `BadOption` where several hosts have the name."""
    from sqlalchemy import select

    from suture.fleet.error import NoSuchThing
    from suture.fleet.table import HostRow

    row = session.get(HostRow, wanted[:32])
    if row is not None:
        return row
    rows = session.scalars(select(HostRow).where(HostRow.name == wanted, HostRow.withdrawn.is_(None))).all()
    if not rows:
        raise NoSuchThing(f"no host {wanted[:64]}", "suture fleet hosts lists them")
    if len(rows) > 1:
        raise BadOption(f"{len(rows)} hosts have the name {wanted[:64]}", "give the id that suture fleet hosts prints")
    return rows[0]
