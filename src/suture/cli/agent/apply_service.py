"""`suture agent apply-service`: the agent's part that runs as root."""

from __future__ import annotations

import argparse
import os
import pwd
import signal
from typing import TYPE_CHECKING

from suture.cli.agent import option
from suture.error import BadOption, ExitCode, NotFound

if TYPE_CHECKING:
    from suture.agent.hand import OtherHand
    from suture.agent.journal import Journal

SUMMARY = "apply what the other part asks for: the part that runs as root"
HELP = """\
Listen on a local socket for `suture agent run`, whose user --user names, and put patches in or take them out as root.
It takes the name of a patch file of the spool with its SHA-256, the id of a patch that the feed has withdrawn, or a
question for what runs here. It reads the policy itself and checks again that the feed's keys have signed the patch. It
has no network, and a seccomp filter lets it start no program and trace nothing; a child without one, which hears of
nobody but it, puts patches in and takes them out. It runs until it is ended, with SIGTERM after what it is just doing;
it writes a line to stderr for each decision."""
EXAMPLES = ("suture agent apply-service --user suture-agent",)
EXIT_CODES = (ExitCode.OK, ExitCode.USAGE, ExitCode.NOT_FOUND)


def arguments(parser: argparse.ArgumentParser) -> None:
    option.add_policy(parser)
    option.add_state(parser)
    option.add_kept(parser)
    option.add_socket(parser)
    parser.add_argument(
        "--user", default="suture-agent", metavar="NAME", help="the user of `run` (default: suture-agent)"
    )


def run(args: argparse.Namespace) -> int:
    from suture.agent.hand import HandGone, OtherHand
    from suture.agent.journal import Journal
    from suture.agent.listener import Listener
    from suture.agent.register import Register
    from suture.agent.service import Service

    try:
        uid = int(args.user) if args.user.isdigit() else pwd.getpwnam(args.user).pw_uid
    except KeyError as problem:
        raise BadOption(
            f"{args.user}: no such user", f"make it: useradd --system --home-dir /nonexistent {args.user}"
        ) from problem
    os.umask(0o022)
    journal = Journal()
    try:
        register = Register(args.kept)
        hand = OtherHand(register.patches, journal)
        service = Service(args.policy, args.state / "spool", register, journal, hand=hand)
        listener = Listener(args.socket, uid, journal)
    except OSError as problem:
        raise NotFound(
            f"{problem.filename or args.socket}: {problem.strerror}", "give folders that root may write to"
        ) from problem
    _confine(hand, journal)
    journal.tell("ready", f"at {args.socket} for user {uid}")
    service.begin()
    ended: list[int] = []
    signal.signal(signal.SIGTERM, lambda number, frame: ended.append(number))  # after what it is about
    try:
        listener.serve(service.answer, service.notice, service.sources, lambda: bool(ended) or not hand.is_there)
        if not ended and not hand.is_there:
            raise HandGone
    finally:
        service.close()
        listener.close()
        hand.close()
    return ExitCode.OK


def _confine(hand: OtherHand, journal: Journal) -> None:
    from suture.agent import confinement

    try:
        listener = confinement.confine()
    except OSError as problem:  # the units of systemd and what a container may do are left
        journal.tell("not confined", f"this kernel gives no seccomp filter: {problem.strerror}")
        return
    if listener >= 0:
        hand.watch(listener)
