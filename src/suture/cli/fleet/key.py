"""`suture fleet key`: the server's public key."""

from __future__ import annotations

import argparse

from suture.cli.fleet import option
from suture.error import ExitCode

SUMMARY = "print the server's public key"
HELP = """\
Print the server's public key (64 hex digits). Hosts compare it when they enrol (`suture agent enrol --server KEY`);
in a policy it lets rollouts take patches out again ([fleet] server); `suture comply verify --key KEY` checks
evidence by it.

With --attempts, print the secret by which agents tell this server of attempts (`suture agent notify` with the address
URL/agent/v1/attempts). Whoever has it can claim an attempt on any host."""
EXAMPLES = ("suture fleet key", "suture fleet key --attempts >webhook.secret")
EXIT_CODES = (ExitCode.OK, ExitCode.USAGE, ExitCode.NOT_FOUND)


def arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--attempts", action="store_true", help="the secret of the agents' webhooks, to be kept as one")
    option.add_database(parser)


def run(args: argparse.Namespace) -> int:
    from suture.fleet.server_key import attempt_secret, server_key

    with option.database(args).writing() as session:
        if args.attempts:
            return option.tell(args, "key", secret=attempt_secret(session))
        return option.tell(args, "key", server_key(session).name)
