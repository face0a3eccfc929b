"""`suture revert`: take a live patch out of running processes."""

from __future__ import annotations

import argparse
import os
from collections.abc import Sequence
from functools import partial
from pathlib import Path

from suture.cli import number
from suture.cli.apply import counted, report
from suture.error import ExitCode, NotFound
from suture.patch.file import read_patch
from suture.process.change.apply import Result, revert
from suture.process.everywhere import Failure, in_each
from suture.process.see.aside import alone
from suture.process.see.find import Unread
from suture.process.see.population import Population
from suture.process.see.status import status_of_all

HELP = """\
Give the old functions their own code back. The patch file is not needed: the process carries the record. The patch's memory
stays mapped, because a thread or a pointer may still lead there; applying again uses it again. Without a pid: every process
that carries the patch. After `apply --replace`, too, it is the original code that comes back; what was replaced is named, and --to
puts that in force instead, in one stop."""
EXAMPLES = (
    "suture revert 3fa19bc07d21e6a4",
    "suture revert libssl.suture.o 812",
    "# go back to the patch that it replaced",
    "suture revert 3fa19bc07d21e6a4 812 --to 90ab12cd34ef5678",
)
EXIT_CODES = (
    ExitCode.OK,
    ExitCode.REFUSED,
    ExitCode.BUSY,
    ExitCode.PARTIAL,
    ExitCode.BAD_PATCH,
    ExitCode.NO_PROCESS,
    ExitCode.NO_PERMISSION,
    ExitCode.NOT_FOUND,
    ExitCode.UNSUPPORTED,
)


def arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("patch", help="the id that `suture status` shows, or the patch file")
    parser.add_argument("pid", type=number.pid, nargs="*", help="processes (default: all that carry the patch)")
    parser.add_argument("--to", default="", metavar="ID", help="go back to this patch, which the process carries")
    parser.add_argument(
        "--timeout",
        type=number.seconds,
        default=10.0,
        metavar="SECONDS",
        help="how long to wait for threads that are inside (10)",
    )


def run(args: argparse.Namespace) -> int:
    if args.patch.endswith(".ko") or args.patch.startswith("suture_"):
        from suture.cli import kernel

        if args.to:
            raise kernel.BadKernelOption("--to is for processes", "load the other kernel patch: suture apply FILE.ko")
        return kernel.revert(args)
    if not _is_id(args.patch) and "/" not in args.patch and not os.path.lexists(args.patch):
        raise NotFound(
            f"no patch {args.patch}: it is neither an id (16 digits, as suture status prints it) nor a file that is here",
            "give the patch first, then the processes: suture revert ID PID",
        )
    identity = args.patch if _is_id(args.patch) else read_patch(Path(args.patch)).id
    unread: list[Unread] = []
    pids: list[int] = args.pid
    if not pids:
        found, unread = status_of_all()
        pids = [p.pid for p in found if any(s.id == identity for s in p.patches)]
    nothing = f"no process carries the patch {identity}"
    if len(args.pid) == 1:
        one = partial(revert, args.pid[0], identity, to=args.to, timeout=args.timeout)
        return report(args, [one() if args.debug else alone(args.pid[0], one, args.timeout)], nothing)
    with counted(args, "reverting") as count:
        outcomes = in_each(pids, partial(_revert, identity, args.to), timeout=args.timeout, report=count)
    if not args.pid:
        # found by looking, and nothing to revert any more: it has ended meanwhile
        outcomes = [o for o in outcomes if not (isinstance(o, Failure) and o.exit_code is ExitCode.NO_PROCESS)]
        if len(outcomes) < len(pids) and not args.json:
            print(f"{len(pids) - len(outcomes)} ended meanwhile")
    return report(args, outcomes, nothing, unread=unread) if outcomes else _nothing(args, nothing, unread)


def _nothing(args: argparse.Namespace, what: str, unread: Sequence[Unread]) -> int:
    """Nothing was there to revert, and the exit code says so."""
    report(args, [], what, unread=unread)
    return ExitCode.NO_PROCESS


def _revert(identity: str, to: str, pid: int, seconds: float, population: Population) -> Result:
    return revert(pid, identity, to=to, timeout=seconds, population=population)


def _is_id(word: str) -> bool:
    return len(word) == 16 and all(c in "0123456789abcdef" for c in word)
