"""`suture agent run`: the agent's part without rights."""

from __future__ import annotations

import argparse
import time
from functools import partial
from typing import TYPE_CHECKING

from suture.cli.agent import option
from suture.error import ExitCode

if TYPE_CHECKING:
    from suture.agent.check_in import Fleet

SUMMARY = "fetch, decide and ask: the part without rights"
HELP = """\
Fetch what the feed has for what runs here, decide by the policy, and ask `suture agent apply-service` to put it in. It
needs no rights, and a user of its own. It runs until it is ended; it writes a line to stderr for each decision."""
EXAMPLES = ("suture agent run", "suture agent run --once")
EXIT_CODES = (ExitCode.OK, ExitCode.USAGE, ExitCode.NOT_FOUND, ExitCode.NO_PERMISSION)
_APPLY_SECONDS = 900.0


def arguments(parser: argparse.ArgumentParser) -> None:
    option.add_policy(parser)
    option.add_state(parser)
    option.add_kept(parser)
    option.add_socket(parser)
    parser.add_argument("--once", action="store_true", help="look once and end")


def run(args: argparse.Namespace) -> int:
    from suture.agent import policy, register, request
    from suture.agent.decision import local_now
    from suture.agent.loop import Loop

    policy.load(args.policy)  # a wrong one is told at once; later it is a problem that the agent shows
    loop = Loop(
        args.policy,
        args.state,
        partial(request.ask, args.socket, seconds=_APPLY_SECONDS),
        partial(register.allowed, args.kept),
        local_now,
        fleet=_fleet(args),
    )
    while True:
        seconds = loop.look()
        if args.once:
            return ExitCode.OK
        time.sleep(seconds)


def _fleet(args: argparse.Namespace) -> Fleet | None:
    """None for a host that is in no fleet."""
    from suture.agent import membership

    if not membership.is_member(args.state):
        return None
    from suture.agent.check_in import Fleet

    return Fleet(args.state, args.kept)
