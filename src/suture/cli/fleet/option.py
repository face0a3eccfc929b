"""What actions of `suture fleet` share: the database, and how they tell what they did."""

from __future__ import annotations

import argparse
import os
from pathlib import Path
from typing import TYPE_CHECKING

from suture.cli.output import print_document
from suture.error import BadOption, ExitCode, NotFound
from suture.report.deadline import DataSource
from suture.report.document import FleetReport
from suture.report.fleet import FleetAccount
from suture.report.moment import now

if TYPE_CHECKING:
    from suture.comply.rule import DeadlineRule
    from suture.fleet.database import Database

DEFAULT = "sqlite:////var/lib/suture/fleet/fleet.sqlite"
_VARIABLE = "SUTURE_FLEET_DATABASE"


def add_database(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--database",
        default=os.environ.get(_VARIABLE, DEFAULT),
        metavar="URL",
        help=f"sqlite:///FILE or postgresql://... (default: ${_VARIABLE}, or {DEFAULT})",
    )


def add_rules(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--rules", type=Path, metavar="DIR", help="rules of your own (docs/reference/rules.md), beside the shipped ones"
    )


def database(args: argparse.Namespace) -> Database:
    """The database, which is made if it is not there."""
    from suture.fleet.database import open_database

    if args.database.startswith("sqlite:///"):
        folder = Path(args.database.removeprefix("sqlite:///")).parent
        try:
            folder.mkdir(mode=0o750, parents=True, exist_ok=True)
        except OSError as problem:
            raise NotFound(f"{folder}: {problem.strerror}", "give another place with --database") from problem
    return open_database(args.database)


def who() -> str:
    """Whom the audit log names for what is done from a shell."""
    import pwd

    try:
        return f"shell {pwd.getpwuid(os.getuid()).pw_name}"
    except KeyError:
        return f"shell {os.getuid()}"


def tell(
    args: argparse.Namespace,
    action: str,
    *notes: str,
    secret: str = "",
    accounts: tuple[FleetAccount, ...] = (),
    sources: tuple[DataSource, ...] = (),
    code: ExitCode = ExitCode.OK,
) -> int:
    """What was done, as a document or as lines; a secret is a line of its own on stdout."""
    if args.json:
        print_document(FleetReport(now(), int(code), action, notes, secret, accounts, sources))
    else:
        for line in (*notes, *([secret] if secret else [])):
            print(line)
    return code


def chosen_rules(args: argparse.Namespace) -> tuple[DeadlineRule, ...]:
    """The rules that `--rules` and `--rule` name, in their order; all that are in force where none is named."""
    from datetime import UTC, datetime

    from suture.comply import rulebook

    own = sorted(args.rules.glob("*.toml")) if args.rules else []
    known = {r.id: r for r in (*rulebook.shipped(), *(rulebook.load(p) for p in own))}
    today = datetime.now(UTC).date()
    if not args.rule:
        return tuple(r for r in known.values() if r.is_valid(today))
    strange = [name for name in args.rule if name not in known]
    if strange:
        raise BadOption(f"{strange[0]}: no such rule", "suture comply rules lists them")
    return tuple(known[name] for name in args.rule)
