"""`suture els page`: what waits for a person, in a browser."""

from __future__ import annotations

import argparse
import getpass
import secrets
from pathlib import Path
from typing import TYPE_CHECKING

from suture.cli.els import option
from suture.cli.els.status import packages
from suture.error import ExitCode

if TYPE_CHECKING:
    from suture.report.document import BackportReport
    from suture.source.archive import SourceVersion

SUMMARY = "look at what waits for a person, in a browser"
HELP = """\
Serve pages on the loopback interface that show what waits for a person: each fix from both sides with the places that
do not fit, an editor for its patch, and what was built and needs a look.

The command prints an address with a key in it; whoever opens it acts in your name. A patch that you keep there lies in
--drafts, and is tried on the older release's source at once. Build with it: `suture els build PACKAGE --patch
CVE=FILE`. A package that you take is published by the next `suture els publish`.

It needs the extra fleet besides els."""
EXAMPLES = (
    "suture els page --output built --drafts drafts",
    "# from another machine, through ssh",
    "ssh -L 8091:127.0.0.1:8091 builder suture els page --port 8091",
)
EXIT_CODES = option.EXIT_CODES


def arguments(parser: argparse.ArgumentParser) -> None:
    option.add_releases(parser)
    option.add_shelf(parser)
    option.add_patches(parser)
    option.add_repository_folder(parser)
    parser.add_argument(
        "--drafts", type=Path, default=Path("drafts"), metavar="DIR", help="where patches lie (default: drafts)"
    )
    parser.add_argument("--port", type=int, default=0, metavar="N", help="the port (default: one that is free)")


def run(args: argparse.Namespace) -> int:
    import socket

    import uvicorn

    from suture.els.desk import ReviewDesk
    from suture.els.page import create_app
    from suture.els.shelf import BuiltShelf
    from suture.error import BadOption

    shelf, key = BuiltShelf(args.output.absolute()), secrets.token_urlsafe(24)

    def sources(report: BackportReport) -> tuple[SourceVersion, SourceVersion]:
        from suture.source.archive import Archive

        return (
            Archive(args.release).source(report.package, report.version),
            Archive(args.donor).source(report.package, report.from_version),
        )

    desk = ReviewDesk(
        shelf,
        args.drafts.absolute(),
        getpass.getuser(),
        sources,
        lambda name: packages(shelf, args.repository, args.patches, name),
    )
    try:
        listening = socket.create_server(("127.0.0.1", args.port))
    except (OSError, OverflowError) as problem:
        raise BadOption(f"port {args.port}: {problem}", "give another --port, or none") from problem
    with listening:
        port = listening.getsockname()[1]
        print(f"open http://127.0.0.1:{port}/?key={key}", flush=True)
        config = uvicorn.Config(create_app(desk, key), log_level="warning", access_log=False)
        uvicorn.Server(config).run(sockets=[listening])
    return ExitCode.OK
