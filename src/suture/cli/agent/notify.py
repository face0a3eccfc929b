"""`suture agent notify`: the part without rights that sends events on."""

from __future__ import annotations

import argparse
import re
import time
from pathlib import Path

from suture.cli import number
from suture.cli.agent import option
from suture.error import BadOption, ExitCode, NotFound

SUMMARY = "send attempts to a web address, signed: a part without rights"
HELP = """\
Send each event that `suture agent attempts` writes from now on to a web address, until it is ended. It needs no rights.
The body is the JSON document; the header Suture-Signature has the time and an HMAC-SHA256 of time and body, with
the secret of a file. An address that does not answer is tried again; 1,000 events wait at most."""
EXAMPLES = ("suture agent notify --webhook https://siem.example/suture --secret /etc/suture/webhook.key",)
EXIT_CODES = (ExitCode.OK, ExitCode.USAGE, ExitCode.NOT_FOUND)
_LEAST_SECRET = 16


def arguments(parser: argparse.ArgumentParser) -> None:
    option.add_attempts(parser)
    parser.add_argument("--webhook", required=True, metavar="URL", help="where events are sent (https://, http://)")
    parser.add_argument("--secret", required=True, type=Path, metavar="FILE", help="a file with the secret")
    parser.add_argument("--seconds", type=number.seconds, metavar="SECONDS", help="end by itself after so long")


def run(args: argparse.Namespace) -> int:
    from suture.agent.attempts import LOG, AttemptReader
    from suture.agent.journal import Journal
    from suture.agent.webhook import Webhook, post

    if not re.match(r"https?://[^/\s]", args.webhook):
        raise BadOption(f"--webhook {args.webhook}: is no address", "give one like https://siem.example/suture")
    secret = _secret(args.secret)
    journal, reader = Journal(), AttemptReader(args.log / LOG)
    webhook = Webhook(lambda body: post(args.webhook, body, secret, int(time.time())))
    until = time.monotonic() + args.seconds if args.seconds else None
    journal.tell("ready", f"events go to {args.webhook}")
    while until is None or time.monotonic() < until:
        for line in reader.lines():
            webhook.add(line.rstrip(b"\n"))
        problem = webhook.work()
        if problem:
            journal.tell_change("problem", f"{args.webhook}: {problem}")
        if webhook.lost:
            journal.tell_change("lost", f"{webhook.lost} events")
        time.sleep(0.2)
    return ExitCode.OK


def _secret(path: Path) -> bytes:
    try:
        found = path.read_bytes().strip()
    except OSError as problem:
        raise NotFound(f"{path}: {problem.strerror}", f"make it: openssl rand -hex 32 >{path}") from problem
    if len(found) < _LEAST_SECRET:
        raise BadOption(f"{path}: fewer than {_LEAST_SECRET} bytes", f"make it: openssl rand -hex 32 >{path}")
    return found
