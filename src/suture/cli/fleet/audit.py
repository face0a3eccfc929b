"""`suture fleet audit`: whether the audit log is whole."""

from __future__ import annotations

import argparse

from suture.cli.fleet import option
from suture.error import ExitCode

SUMMARY = "check that the audit log is whole"
HELP = """\
Check the chain of the audit log: each entry's digest covers the entry before. Exit code 5 says that an entry was
changed, taken out or put in. Compare the last digest with one that you have kept elsewhere: who has the database
could make the whole chain anew."""
EXAMPLES = ("suture fleet audit",)
EXIT_CODES = (ExitCode.OK, ExitCode.USAGE, ExitCode.PARTIAL, ExitCode.NOT_FOUND)


def arguments(parser: argparse.ArgumentParser) -> None:
    option.add_database(parser)


def run(args: argparse.Namespace) -> int:
    from suture.fleet import audit

    with option.database(args).reading() as session:
        wrong, (number, digest) = audit.first_wrong(session), audit.head(session)
    if wrong is not None:
        return option.tell(args, "audit", f"entry {wrong} is not what it was", code=ExitCode.PARTIAL)
    return option.tell(args, "audit", f"{number} entries are whole; the last digest is {digest}")
