"""`suture agent allow`: an administrator lets a patch in that waits for that."""

from __future__ import annotations

import argparse
import re

from suture.cli.agent import option
from suture.error import ExitCode, NotFound

SUMMARY = "allow a patch that waits because the policy asks"
HELP = """\
Allow a patch, by its id, that waits because the policy says `mode = "ask"`. Only root can. The agent puts it in at its
next look."""
EXAMPLES = ("suture agent allow 0123456789abcdef",)
EXIT_CODES = (ExitCode.OK, ExitCode.USAGE, ExitCode.NOT_FOUND)


def arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("patch", type=_identity, metavar="ID", help="as `suture agent status` prints it")
    option.add_kept(parser)


def run(args: argparse.Namespace) -> int:
    from suture.agent import register

    try:
        register.allow(args.kept, args.patch)
    except OSError as problem:
        raise NotFound(
            f"{problem.filename or args.kept}: {problem.strerror}", "run it as root, on the host of the agent"
        ) from problem
    print(f"allowed: {args.patch}")
    return ExitCode.OK


def _identity(word: str) -> str:
    if not re.fullmatch(r"[0-9a-f]{16}", word):
        raise argparse.ArgumentTypeError(f"{word} is no id (16 digits, as suture agent status prints it)")
    return word
