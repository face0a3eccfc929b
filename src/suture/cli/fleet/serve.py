"""`suture fleet serve`: the server."""

from __future__ import annotations

import argparse
import ipaddress
import resource
from datetime import timedelta
from pathlib import Path

from suture.cli.fleet import option
from suture.cli.number import count
from suture.error import BadOption, ExitCode

SUMMARY = "serve the pages, and the door of the hosts"
HELP = """\
Serve a fleet until it is ended. Give --certificate and --private-key, or put a server that speaks https before it and
give --plain: then it listens on a loopback address, and cookies still go over https alone. --plain --insecure-cookies
is for a try on one machine.

The schema of the database is brought up to date first."""
EXAMPLES = (
    "suture fleet serve --listen 0.0.0.0:8443 --certificate fleet.pem --private-key fleet.key",
    "suture fleet serve --plain --database sqlite:////srv/fleet.sqlite",
)
EXIT_CODES = (ExitCode.OK, ExitCode.USAGE, ExitCode.NOT_FOUND)


def arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--listen", default="127.0.0.1:8443", metavar="ADDRESS:PORT", help="where (default: 127.0.0.1:8443)"
    )
    parser.add_argument(
        "--certificate", type=Path, metavar="FILE", help="the server's certificate with its chain (PEM)"
    )
    parser.add_argument("--private-key", type=Path, metavar="FILE", help="its key (PEM)")
    parser.add_argument("--plain", action="store_true", help="http, for a server before it that speaks https")
    parser.add_argument("--insecure-cookies", action="store_true", help="log in over http too; for a try")
    parser.add_argument(
        "--every-seconds", type=count, default=60, metavar="N", help="how often hosts report (default: 60)"
    )
    parser.add_argument(
        "--away-after",
        type=count,
        default=900,
        metavar="N",
        help="a host is away after so many seconds (default: 900)",
    )
    parser.add_argument(
        "--rule",
        action="append",
        metavar="ID",
        help="a rule to show deadlines by, the first one on the overview; may be repeated (default: all in force)",
    )
    parser.add_argument(
        "--notify",
        type=Path,
        metavar="FILE",
        help="whom to tell of what: webhooks, mail, syslog (docs/how-to/fleet.md)",
    )
    parser.add_argument(
        "--near-hours",
        type=count,
        default=24,
        metavar="N",
        help="a deadline is near so many hours before (default: 24)",
    )
    option.add_rules(parser)
    option.add_database(parser)


def run(args: argparse.Namespace) -> int:
    import uvicorn

    from suture.fleet import channel
    from suture.fleet.app import create_app
    from suture.fleet.connection import BoundedConnection
    from suture.fleet.server import Server, ServerSettings

    address, _, port = args.listen.rpartition(":")
    address = address.strip("[]")
    if not address or not port.isdigit():
        raise BadOption(f"{args.listen}: no address and port", "give for instance --listen 127.0.0.1:8443")
    if bool(args.certificate) != bool(args.private_key):
        raise BadOption("a certificate and its key belong together", "give --certificate and --private-key")
    if not args.certificate and not args.plain:
        raise BadOption(
            "without a certificate passwords would go over the network as they are",
            "give --certificate and --private-key, or --plain behind a server that speaks https",
        )
    if args.plain and not _is_loopback(address):
        raise BadOption(
            f"{args.listen}: --plain there would send passwords over the network as they are",
            "listen on 127.0.0.1 behind a server that speaks https, or give --certificate and --private-key",
        )
    if args.insecure_cookies and not args.plain:
        raise BadOption("--insecure-cookies goes with --plain", "leave it out")
    rules = option.chosen_rules(args)
    channels = channel.load(args.notify) if args.notify else ()
    settings = ServerSettings(
        args.every_seconds, timedelta(seconds=args.away_after), not args.insecure_cookies, rules, channels,
        timedelta(hours=args.near_hours),
    )  # fmt: skip
    server = Server(option.database(args), settings)
    print(
        f"serving at {'http' if args.plain else 'https'}://{args.listen}/; the server's key is {server.key.name}",
        flush=True,
    )
    _, most_files = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (most_files, most_files))  # a connection is one
    uvicorn.run(
        create_app(server),
        http=BoundedConnection,
        loop="uvloop",
        host=address,
        port=int(port),
        ssl_certfile=args.certificate,
        ssl_keyfile=args.private_key,
        log_level="warning",
        access_log=False,
        server_header=False,
        proxy_headers=False,
        limit_concurrency=4096,
        timeout_keep_alive=75,
        timeout_graceful_shutdown=5,
    )
    return ExitCode.OK


def _is_loopback(address: str) -> bool:
    try:
        return ipaddress.ip_address(address).is_loopback
    except ValueError:
        return address == "localhost"
