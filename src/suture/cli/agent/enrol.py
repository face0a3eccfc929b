"""`suture agent enrol`: this host comes into a fleet."""

from __future__ import annotations

import argparse
from pathlib import Path

from suture.cli.agent import option
from suture.error import BadOption, ExitCode, NotFound

SUMMARY = "bring this host into a fleet"
HELP = """\
Make a key for this host, and enrol it with a fleet's server by a token that `suture fleet token` has printed. From then
on `suture agent run` reports to the server every minute. Restart it afterwards.

The token is read from --token-file, or from standard input with `-`. Give --server, the key that `suture fleet key`
prints, where the way to the server is not trusted. With `mode = "fleet"` in the policy, patches wait until a rollout of
the server lets them in (docs/how-to/fleet.md)."""
EXAMPLES = ("suture agent enrol --url https://fleet.example --token-file token",)
EXIT_CODES = (ExitCode.OK, ExitCode.USAGE, ExitCode.REFUSED, ExitCode.NOT_FOUND)


def arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--url", required=True, metavar="URL", help="the server's address")
    parser.add_argument(
        "--token-file", required=True, type=Path, metavar="FILE", help="the token; - for standard input"
    )
    parser.add_argument("--server", default="", metavar="KEY", help="the server's public key (64 hex digits)")
    parser.add_argument("--authority", default="", metavar="FILE", help="certificates that the server's is checked by")
    parser.add_argument("--again", action="store_true", help="though this host is in a fleet already; with a new key")
    option.add_state(parser)


def run(args: argparse.Namespace) -> int:
    import sys

    from suture.agent import membership
    from suture.agent.check_in import enrol

    if membership.is_member(args.state) and not args.again:
        raise BadOption("this host is in a fleet already", "give --again to enrol it anew")
    try:
        text = sys.stdin.read() if str(args.token_file) == "-" else args.token_file.read_text()
        args.state.mkdir(parents=True, exist_ok=True)
        own = enrol(args.state, args.url, text.strip(), args.server, args.authority)
    except (OSError, UnicodeDecodeError) as problem:
        raise NotFound(f"{problem}", "give files that can be read, and a folder that may be written to") from problem
    print(f"enrolled as {own.id}; the server's key is {own.server}")
    return ExitCode.OK
