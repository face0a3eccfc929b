"""`suture watch-attempts`: tell when somebody tries a hole that a live patch has closed."""

from __future__ import annotations

import argparse
import signal
import sys
import time
from types import FrameType

from suture.cli import number
from suture.error import ExitCode
from suture.report.document import AttemptReport

HELP = """\
Tell when somebody tries a hole that a live patch has closed, until you end it with Ctrl-C. It works for patches
that were made with `suture make --tripwires`: their new code counts, in the patched process or kernel itself, how
often it rejects something. This command reads the counters of all patched processes and of the running kernel once
a second, and changes nothing.

Each line is an event: the process with its user and its unit or container, the CVE, the place in the source that
rejected the input, and how often. What is counted in ten seconds for one program and one place is told together,
so that a flood of attempts is no flood of events; nothing of it is lost. What was counted before this command
began is no event: `suture status` shows it.

A counter belongs to its process. What a process counts in the last second before it ends is not seen."""
EXAMPLES = (
    "suture watch-attempts",
    "# for a log collector: one JSON document a line",
    "suture watch-attempts --json",
    "# for one minute",
    "suture watch-attempts --seconds 60",
)
EXIT_CODES = (ExitCode.OK, ExitCode.USAGE)


def arguments(parser: argparse.ArgumentParser) -> None:
    from suture.host.attempts import APART_SECONDS, MOST_EVENTS

    parser.add_argument("pid", type=number.pid, nargs="*", help="processes (default: all)")
    parser.add_argument("--seconds", type=number.seconds, metavar="SECONDS", help="end by itself after so long")
    parser.add_argument(
        "--every", type=number.seconds, default=1.0, metavar="SECONDS", help="time between two looks (default: 1)"
    )
    parser.add_argument(
        "--apart",
        type=number.seconds,
        default=APART_SECONDS,
        metavar="SECONDS",
        help=f"at most one event in so long for a program and a place (default: {APART_SECONDS:.0f})",
    )
    parser.add_argument(
        "--most",
        type=number.count,
        default=MOST_EVENTS,
        metavar="N",
        help=f"at most so many events in a minute; the rest is told later (default: {MOST_EVENTS})",
    )


def run(args: argparse.Namespace) -> int:
    from suture.host.attempts import Attempts

    ended = []

    def end(sig: int, frame: FrameType | None) -> None:
        ended.append(sig)

    before = {sig: signal.signal(sig, end) for sig in (signal.SIGINT, signal.SIGTERM)}
    attempts = Attempts(args.apart, args.most, args.pid)
    begun = time.monotonic()
    until = begun + args.seconds if args.seconds else None
    try:
        number_of_looks = 0
        while not ended and (until is None or time.monotonic() < until):
            for event in attempts.look():
                _print(event, args.json)
            if not number_of_looks:
                kernel = " and the running kernel" * attempts.in_kernel
                said = f"watching {attempts.processes} processes{kernel} that have tripwires"
                print(said, file=sys.stderr, flush=True)
            number_of_looks += 1
            rest = begun + number_of_looks * args.every - time.monotonic()
            time.sleep(max(0.0, rest))
    finally:
        for sig, handler in before.items():
            signal.signal(sig, handler)
    return ExitCode.OK


def _print(event: AttemptReport, as_json: bool) -> None:
    if as_json:
        from suture.report.encoding import compact, encode

        print(compact(encode(event)).decode(), flush=True)
        return
    print(event.line, flush=True)
