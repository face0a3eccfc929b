"""`suture fleet backup`: the server's database as a file."""

from __future__ import annotations

import argparse
from pathlib import Path

from suture.cli.fleet import option
from suture.error import ExitCode, NotFound

SUMMARY = "write the whole database to a file, while the server runs"
HELP = """\
Write a copy of the database to FILE, whole as of one moment, while the server runs. It holds the server's key and the
digests of passwords: keep it as you keep those. It is for SQLite; for PostgreSQL use pg_dump."""
EXAMPLES = ("suture fleet backup fleet.backup",)
EXIT_CODES = (ExitCode.OK, ExitCode.USAGE, ExitCode.NOT_FOUND, ExitCode.UNSUPPORTED)


def arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("file", type=Path, metavar="FILE", help="where to; it must not be there")
    option.add_database(parser)


def run(args: argparse.Namespace) -> int:
    from suture.fleet.backup import backup

    try:
        size = backup(option.database(args), args.file)
    except OSError as problem:
        raise NotFound(
            f"{args.file}: {problem.strerror}", "give a new file in a folder that may be written to"
        ) from problem
    return option.tell(args, "backup", f"{args.file}: {size} bytes")
