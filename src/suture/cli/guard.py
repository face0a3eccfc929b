"""`suture guard`: patch processes as they start."""

from __future__ import annotations

import argparse
import signal
import time
from collections.abc import Sequence
from pathlib import Path
from types import FrameType

from suture.cli import number
from suture.cli.output import print_document
from suture.error import BadOption, ExitCode
from suture.host.recipient import ApplyOptions, of_file
from suture.report.start import GuardedFile, StartedProcess, StartEnd

HELP = """\
Patch processes as they start, until you end it with Ctrl-C. A process that loads a library with the hole is
held when it opens the file, and gets the patch before code of the library or a constructor runs. It works in
every container, and for dlopen. Who opens the file for something else, as cp does, is let go at once.

Guarded are the files that running processes have loaded and that a patch is for, and those that you name with
--file. If this command dies or stalls, processes start as they would without it.

A program that is itself the file with the hole cannot be held: it starts with the old code, and the line says
so. Run `suture apply PATCH` for it, and for what runs already."""
EXAMPLES = (
    "suture guard libssl.suture.o",
    "# a library that nothing has loaded yet; for ten minutes",
    "suture guard libssl.suture.o --file /usr/lib/x86_64-linux-gnu/libssl.so.3 --seconds 600",
)
EXIT_CODES = (
    ExitCode.OK,
    ExitCode.REFUSED,
    ExitCode.PARTIAL,
    ExitCode.BAD_PATCH,
    ExitCode.NO_PERMISSION,
    ExitCode.NOT_FOUND,
    ExitCode.UNSUPPORTED,
)
_WORDS = {
    StartEnd.PATCHED: "patched before it ran",
    StartEnd.NOT_LOADED: "does not load it",
    StartEnd.FAILED: "RUNS WITH THE OLD CODE",
    StartEnd.EXECUTED: "RUNS WITH THE OLD CODE: is the program itself; suture apply",
}


def arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("patch", type=Path, nargs="+", help="live patches, .suture.o files")
    parser.add_argument(
        "--file", type=Path, action="append", default=[], metavar="PATH", help="guard this file too, may be repeated"
    )
    parser.add_argument("--seconds", type=number.seconds, metavar="SECONDS", help="end by itself after so long")
    parser.add_argument("--accept-partial", action="store_true", help="guard with a patch that lacks part of its fix")
    parser.add_argument("--accept-unproved", action="store_true", help="guard with a patch without a proof")


def run(args: argparse.Namespace) -> int:
    from suture.host.processes import Processes
    from suture.host.starts import guard

    options = ApplyOptions(accept_partial=args.accept_partial, accept_unproved=args.accept_unproved)
    patches = []
    for path in args.patch:
        target = of_file(path, owned=True)
        if not isinstance(target, Processes):
            raise BadOption(f"{path}: is a kernel patch", "load it at each boot: suture apply PATCH --at-boot")
        patches.append(target.admitted(options))
    ended = []

    def end(sig: int, frame: FrameType | None) -> None:
        ended.append(sig)

    before = {sig: signal.signal(sig, end) for sig in (signal.SIGINT, signal.SIGTERM)}
    until = time.monotonic() + args.seconds if args.seconds else None
    try:
        report = guard(
            patches,
            args.file,
            lambda files: None if args.json else _print_files(files),
            lambda start: None if args.json else _print_start(start),
            lambda: not ended and (until is None or time.monotonic() < until),
        )
    finally:
        for sig, handler in before.items():
            signal.signal(sig, handler)
    if args.json:
        print_document(report)
    elif report.let_go:
        print(f"{report.let_go} starts were not held, because this command had stalled: suture apply PATCH")
    return report.exit_code


def _print_files(files: Sequence[GuardedFile]) -> None:
    for file in files:
        print(f"guarding {file.path} with {file.patch}", flush=True)


def _print_start(start: StartedProcess) -> None:
    why = f": {start.error}" if start.error else ""
    print(
        f"{start.pid}  {start.command}  {start.file}  {_WORDS[start.end]}{why}  ({start.held_us / 1000:.1f} ms)",
        flush=True,
    )
