"""`suture agent enrol`: this host comes into a fleet."""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Callable
from pathlib import Path

from suture.cli.agent import option
from suture.cli.number import count
from suture.error import BadOption, ExitCode, NotFound

SUMMARY = "bring this host into a fleet"
HELP = """\
Make a key for this host, and enrol it with a fleet's server by a token that `suture fleet token` has printed. From then
on `suture agent run` reports to the server every minute. Restart it afterwards.

The token is read from --token-file, or from standard input with `-`. Without one, the fingerprint of the host's key is
printed, and the command waits until somebody has compared it and let the host in on the server's page of hosts. Give
--server, the key that `suture fleet key` prints, where the way to the server is not trusted. With `mode = "fleet"` in
the policy, patches wait until a rollout of the server lets them in (docs/how-to/fleet.md)."""
EXAMPLES = (
    "suture agent enrol --url https://fleet.example --token-file token",
    "# without a token: an operator compares the fingerprint on the page of hosts",
    "suture agent enrol --url https://fleet.example --wait-minutes 30",
)
_PAUSE = 2.0
EXIT_CODES = (ExitCode.OK, ExitCode.USAGE, ExitCode.REFUSED, ExitCode.NOT_FOUND)


def arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--url", required=True, metavar="URL", help="the server's address")
    parser.add_argument(
        "--token-file", type=Path, metavar="FILE", help="the token; - for standard input (default: wait to be let in)"
    )
    parser.add_argument(
        "--wait-minutes", type=count, default=60, metavar="N", help="how long to wait without a token (default: 60)"
    )
    parser.add_argument("--server", default="", metavar="KEY", help="the server's public key (64 hex digits)")
    parser.add_argument("--authority", default="", metavar="FILE", help="certificates that the server's is checked by")
    parser.add_argument("--again", action="store_true", help="though this host is in a fleet already; with a new key")
    option.add_state(parser)


def run(args: argparse.Namespace) -> int:
    from suture.agent import membership
    from suture.agent.check_in import enrol

    if membership.is_member(args.state) and not args.again:
        raise BadOption("this host is in a fleet already", "give --again to enrol it anew")
    try:
        text = _token(args.token_file)
        args.state.mkdir(parents=True, exist_ok=True)
        own = enrol(args.state, args.url, text, args.server, args.authority, _waiting(args.wait_minutes))
    except (OSError, UnicodeDecodeError) as problem:
        raise NotFound(f"{problem}", "give files that can be read, and a folder that may be written to") from problem
    print(f"enrolled as {own.id}; the server's key is {own.server}")
    return ExitCode.OK


def _token(path: Path | None) -> str:
    if path is None:
        return ""
    found = (sys.stdin.read() if str(path) == "-" else path.read_text()).strip()
    if not found:
        raise BadOption("there is no token", "suture fleet token makes one; leave --token-file out to wait")
    return found


def _waiting(minutes: int) -> Callable[[str], bool]:
    """Says once what to compare, and waits a little each time."""
    end, told = time.monotonic() + minutes * 60, False

    def wait(fingerprint: str) -> bool:
        nonlocal told
        if not told:
            print(f"the fingerprint of this host's key is {fingerprint}; it waits to be let in", flush=True)
        told = True
        time.sleep(_PAUSE)
        return time.monotonic() < end

    return wait
