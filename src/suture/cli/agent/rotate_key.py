"""`suture agent rotate-key`: this host gets another key in its fleet."""

from __future__ import annotations

import argparse

from suture.cli.agent import option
from suture.error import BadOption, ExitCode, NotFound

SUMMARY = "give this host another key in its fleet"
HELP = """\
Make another key for this host, tell the fleet's server by the old one, and use it from then on. The host stays what it
is there. If the server does not answer, the agent goes on with that at its next report."""
EXAMPLES = ("suture agent rotate-key",)
EXIT_CODES = (ExitCode.OK, ExitCode.USAGE, ExitCode.REFUSED, ExitCode.NOT_FOUND)


def arguments(parser: argparse.ArgumentParser) -> None:
    option.add_state(parser)


def run(args: argparse.Namespace) -> int:
    from suture.agent import membership
    from suture.agent.check_in import rotate

    if not membership.is_member(args.state):
        raise BadOption("this host is in no fleet", "suture agent enrol brings it into one")
    try:
        found = rotate(args.state)
    except OSError as problem:
        raise NotFound(f"{problem}", "run it as root") from problem
    print(f"the fingerprint of this host's key is now {found}")
    return ExitCode.OK
