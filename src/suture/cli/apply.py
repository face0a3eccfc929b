"""`suture apply`: put a live patch into running processes, or into the running kernel."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path

from suture.cli import number
from suture.cli.change import counted, print_change
from suture.cli.output import print_document, print_table
from suture.error import BadOption, ExitCode
from suture.host.recipient import ApplyOptions, of_files
from suture.report.document import PlanReport

HELP = """\
Put a live patch into running processes. Suture loads nothing into them and restarts nothing. The only pause is
the moment in which all threads are stopped while the entries of the old functions are rewritten.

Without a pid: every process that runs the binary that the patch is for, in every container. Suture finds them
by the build-id in their memory, and looks again for those that start meanwhile.

If threads stay inside a function to be replaced, the process is left as it was (busy), or gets those groups of
the patch that are free (partial).

A fix may change several binaries. Give all of its patches, or the folder that holds them: a process changes over
to all of them in one stop, or to none. If one cannot be applied, Suture says which, and why. Without a pid each
process gets the patches of what it has loaded. To apply them apart, give them one at a time; in between a
process that has loaded both binaries runs half of the fix.

The patch file must be whole. It must belong to root or to you, and nobody else may be able to write to it."""
EXAMPLES = (
    "# all processes that run the binary the patch is for",
    "suture apply libssl.suture.o",
    "# one process; only tell what would be written",
    "suture apply libssl.suture.o 812 --dry-run",
    "# a fix of two libraries: both, or neither, in one stop of each process",
    "suture apply libssl.suture.o libcrypto.suture.o",
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
    parser.add_argument(
        "patch",
        type=Path,
        nargs="+",
        help="live patches, .suture.o files; several change in one stop. A folder: all patches of one fix in it",
    )
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
    patches, pids = _split(args.patch, args.pid)
    target = of_files(patches, owned=True)
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
        return _print_plan(args, target.plan(pids, options))
    with counted(args, "applying") as count:
        change = target.apply(pids, options, count)
    wanted = " or ".join(f"{p.file} {p.build_id}" for p in (change.file, *change.companions))
    return print_change(args, change, f"no process runs {wanted}")


def _split(words: Sequence[Path], pids: Sequence[int]) -> tuple[list[Path], list[int]]:
    """Patches, and the processes behind them: what has digits alone is one, but for the first word."""
    first = next((n for n, word in enumerate(words) if n and str(word).isascii() and str(word).isdigit()), len(words))
    try:
        return list(words[:first]), [*(number.pid(str(word)) for word in words[first:]), *pids]
    except argparse.ArgumentTypeError as problem:
        raise BadOption(str(problem), "give the patches first, then the processes") from problem


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
