"""`suture agent attempts`: the agent's part that reads tripwires."""

from __future__ import annotations

import argparse
import time
from pathlib import Path

from suture.cli import number
from suture.cli.agent import option
from suture.error import ExitCode, NotFound

SUMMARY = "watch tripwires, and write events for the journal, Prometheus and others"
HELP = """\
Watch the tripwires of all patched processes, as `suture watch-attempts` does, until it is ended. It runs as root, and
has no network. An event is a line on stderr, which systemd hands to the journal; a document in attempts.jsonl, one a
line; and a counter in attempts.prom, in the text format of Prometheus, for the textfile collector of node_exporter."""
EXAMPLES = ("suture agent attempts", "suture agent attempts --log /run/suture-attempts --every 0.5")
EXIT_CODES = (ExitCode.OK, ExitCode.USAGE, ExitCode.NOT_FOUND)


def arguments(parser: argparse.ArgumentParser) -> None:
    option.add_attempts(parser)
    parser.add_argument(
        "--every", type=number.seconds, default=1.0, metavar="SECONDS", help="time between two looks (default: 1)"
    )
    parser.add_argument("--seconds", type=number.seconds, metavar="SECONDS", help="end by itself after so long")


def run(args: argparse.Namespace) -> int:
    from suture.agent.attempts import AttemptLog
    from suture.agent.journal import Journal
    from suture.host.attempts import Attempts

    journal, attempts, log = Journal(), Attempts(), AttemptLog(_folder(args.log))
    until = time.monotonic() + args.seconds if args.seconds else None
    journal.tell("ready", f"events go to {args.log}")
    while until is None or time.monotonic() < until:
        for event in attempts.look():
            journal.tell("attempt", event.text, event.wire.patch)
            try:
                log.tell(event)
            except OSError as problem:
                journal.tell_change("problem", f"{problem.filename}: {problem.strerror}")
        time.sleep(args.every)
    return ExitCode.OK


def _folder(path: Path) -> Path:
    try:
        path.mkdir(mode=0o755, parents=True, exist_ok=True)
    except OSError as problem:
        raise NotFound(f"{path}: {problem.strerror}", "give a folder that root may write to: --log DIR") from problem
    return path
