"""`suture fleet key`: the server's public key."""

from __future__ import annotations

import argparse

from suture.cli.fleet import option
from suture.error import ExitCode

SUMMARY = "print the server's public key"
HELP = """\
Print the server's public key (64 hex digits). Hosts compare it when they enrol (`suture agent enrol --server KEY`);
in a policy it lets rollouts take patches out again ([fleet] server); `suture comply verify --key KEY` checks
evidence by it."""
EXAMPLES = ("suture fleet key",)
EXIT_CODES = (ExitCode.OK, ExitCode.USAGE, ExitCode.NOT_FOUND)


def arguments(parser: argparse.ArgumentParser) -> None:
    option.add_database(parser)


def run(args: argparse.Namespace) -> int:
    from suture.fleet.server_key import server_key

    with option.database(args).writing() as session:
        return option.tell(args, "key", server_key(session).name)
