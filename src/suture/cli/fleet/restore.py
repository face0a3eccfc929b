"""`suture fleet restore`: a copy becomes the server's database."""

from __future__ import annotations

import argparse
from pathlib import Path

from suture.cli.fleet import option
from suture.error import ExitCode, NotFound

SUMMARY = "make a copy the server's database"
HELP = """\
Put what `suture fleet backup` wrote in the place of --database, which must not be there, and bring its schema up to
date. End the server first, and move the old database away. Logins of then are not taken over."""
EXAMPLES = ("suture fleet restore fleet.backup --database sqlite:////var/lib/suture/fleet/fleet.sqlite",)
EXIT_CODES = (ExitCode.OK, ExitCode.USAGE, ExitCode.NOT_FOUND, ExitCode.UNSUPPORTED)


def arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("file", type=Path, metavar="FILE", help="what `backup` wrote")
    option.add_database(parser)


def run(args: argparse.Namespace) -> int:
    from suture.fleet.backup import restore

    try:
        count = restore(args.file, args.database, option.who())
    except OSError as problem:
        what = f"{problem.filename or args.file}: {problem.strerror}"
        raise NotFound(what, "give a backup that can be read, and a place where no database is") from problem
    return option.tell(args, "restore", f"{count} hosts are known")
