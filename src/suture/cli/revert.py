"""`suture revert`: take a live patch out of running processes, or out of the running kernel."""

from __future__ import annotations

import argparse

from suture.cli import number
from suture.cli.change import counted, print_change
from suture.error import ExitCode
from suture.host.recipient import ApplyOptions, named

HELP = """\
Take a live patch out: the old functions get their own code back. You do not need the patch file, because the
process carries the record. Without a pid: every process that carries the patch.

Patches that were applied together are taken out together, in one stop, whichever of them you name.

The patch's memory stays mapped, because a thread or a pointer may still lead there. A later apply uses it
again.

After `apply --replace`, too, the original code comes back. The command names what had been replaced, and --to
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
        help="how long to wait for threads inside the patch's code (default: 10)",
    )


def run(args: argparse.Namespace) -> int:
    target = named(args.patch)
    with counted(args, "reverting") as count:
        change = target.revert(args.pid, args.to, ApplyOptions(timeout=args.timeout, aside=not args.debug), count)
    return print_change(args, change, f"no process carries the patch {change.patch}")
