"""`suture apply`: put a live patch into running processes, or into the running kernel."""

from __future__ import annotations

import argparse
from pathlib import Path

from suture.cli import number
from suture.cli.change import counted, print_change
from suture.cli.output import print_document, print_table
from suture.error import ExitCode
from suture.host.recipient import ApplyOptions, of_file
from suture.report.document import PlanReport

HELP = """\
Put a live patch into running processes. Suture loads nothing into them and restarts nothing. The only pause is
the moment in which all threads are stopped while the entries of the old functions are rewritten.

Without a pid: every process that runs the binary that the patch is for, in every container. Suture finds them
by the build-id in their memory, and looks again for those that start meanwhile.

If threads stay inside a function to be replaced, the process is left as it was (busy), or gets those groups of
the patch that are free (partial).

The patch file must be whole. It must belong to root or to you, and nobody else may be able to write to it."""
EXAMPLES = (
    "# all processes that run the binary the patch is for",
    "suture apply libssl.suture.o",
    "# one process; only tell what would be written",
    "suture apply libssl.suture.o 812 --dry-run",
    "# a kernel patch: load it and wait until every task has changed over",
    "suture apply suture_cve_2026_12345_0a1b2c3d.ko --timeout 60",
    "# take the place of an earlier patch of the same functions in one stop",
    "suture apply new.suture.o 812 --replace",
)
EXIT_CODES = (
    ExitCode.OK,
    ExitCode.REFUSED,
    ExitCode.BUSY,
    ExitCode.PARTIAL,
    ExitCode.BAD_PATCH,
    ExitCode.WRONG_TARGET,
    ExitCode.NO_PROCESS,
    ExitCode.NO_PERMISSION,
    ExitCode.NOT_FOUND,
    ExitCode.UNSUPPORTED,
)


def arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("patch", type=Path, help="the live patch, a .suture.o file")
    parser.add_argument("pid", type=number.pid, nargs="*", help="processes (default: all that run the patch's target)")
    parser.add_argument(
        "--timeout",
        type=number.seconds,
        default=10.0,
        metavar="SECONDS",
        help="how long to wait for threads inside a function to be replaced (default: 10)",
    )
    parser.add_argument(
        "--jobs", type=number.jobs, metavar="N", help="processes at a time (default: one for each processor core)"
    )
    parser.add_argument("--replace", action="store_true", help="take over functions that another patch has replaced")
    parser.add_argument(
        "--accept-partial",
        action="store_true",
        help="apply a patch that does not hold all of its fix (see suture show)",
    )
    parser.add_argument(
        "--accept-unproved", action="store_true", help="apply a patch without a proof that it fits the binary"
    )
    parser.add_argument(
        "--accept-loss",
        action="store_true",
        help="replace patches that have fixes which this one lacks",
    )
    parser.add_argument("--dry-run", action="store_true", help="print what would be written, change nothing")
    parser.add_argument(
        "--at-boot", action="store_true", help="for a kernel patch: load it again at each boot of its kernel (systemd)"
    )


def run(args: argparse.Namespace) -> int:
    target = of_file(args.patch, owned=True)
    options = ApplyOptions(
        timeout=args.timeout,
        jobs=args.jobs,
        replace=args.replace,
        accept_partial=args.accept_partial,
        accept_unproved=args.accept_unproved,
        accept_loss=args.accept_loss,
        at_boot=args.at_boot,
        aside=not args.debug,
    )
    if args.dry_run:
        return _print_plan(args, target.plan(args.pid, options))
    with counted(args, "applying") as count:
        change = target.apply(args.pid, options, count)
    return print_change(args, change, f"no process runs {change.file.file} {change.file.build_id}")


def _print_plan(args: argparse.Namespace, plan: PlanReport) -> int:
    if args.json:
        print_document(plan)
    elif plan.kernel is not None:
        print(f"{plan.kernel.module} fits the running kernel and would replace: {', '.join(plan.kernel.functions)}")
    else:
        rows = [(str(s.pid), f"{s.address:#x}", s.bytes, s.what) for s in plan.steps]
        print_table(("pid", "address", "bytes", "what"), rows)
    for note in plan.notes if not args.json else ():
        print(f"note: {note}")
    return plan.exit_code
