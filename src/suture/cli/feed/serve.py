"""`suture feed serve`: a feed over HTTP, for trying it out."""

from __future__ import annotations

import argparse
import sys

from suture.cli.feed import option
from suture.cli.feed.told import report, tell
from suture.error import ExitCode

SUMMARY = "serve a feed over HTTP, to try it out"
HELP = """\
Serve FEED/public over HTTP until it is interrupted. It is for trying a feed out: any web server serves a feed, and
docs/how-to/feed.md has a configuration for nginx."""
EXAMPLES = ("suture feed serve --feed feed --port 8080",)
EXIT_CODES = (ExitCode.OK, ExitCode.USAGE, ExitCode.NOT_FOUND)
_MOST_PORT = 65535


def arguments(parser: argparse.ArgumentParser) -> None:
    option.add_feed(parser)
    parser.add_argument(
        "--address", default="127.0.0.1", metavar="ADDRESS", help="where to listen (default: 127.0.0.1)"
    )
    parser.add_argument(
        "--port", type=_port, default=8080, metavar="N", help="the port; 0 takes a free one (default: 8080)"
    )


def run(args: argparse.Namespace) -> int:
    from suture.feed.server import server

    feed = option.repository(args)
    with server(feed.public, args.address, args.port) as own:
        url = f"http://{args.address}:{own.server_address[1]}/"
        tell(args, report("serve", args.feed, notes=(url,)), "serving")
        sys.stdout.flush()
        own.serve_forever()
    return ExitCode.OK


def _port(word: str) -> int:
    if not (word.isascii() and word.isdigit() and len(word) <= 5 and int(word) <= _MOST_PORT):
        raise argparse.ArgumentTypeError(f"{word} is no port from 0 to {_MOST_PORT}")
    return int(word)
