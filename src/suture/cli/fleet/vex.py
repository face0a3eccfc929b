"""`suture fleet vex`: how the holes of the fleet stand, for other programs."""

from __future__ import annotations

import argparse
import json
from pathlib import Path

from suture import whole_file
from suture.cli.fleet import option
from suture.error import ExitCode, NotFound

SUMMARY = "write how the holes stand as CSAF VEX"
HELP = """\
Write a document of CSAF 2.0, profile VEX, that says for each hole on which hosts it is open, fixed, mitigated or not
known. Each host is a product."""
EXAMPLES = ("suture fleet vex fleet.json --publisher https://example.org",)
EXIT_CODES = (ExitCode.OK, ExitCode.USAGE, ExitCode.NOT_FOUND)


def arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("file", type=Path, metavar="FILE", help="where it is written")
    parser.add_argument(
        "--publisher", default="https://suture.invalid", metavar="URI", help="who keeps the fleet, for the document"
    )
    option.add_database(parser)


def run(args: argparse.Namespace) -> int:
    from datetime import UTC, datetime

    from suture import __version__
    from suture.fleet.role import Role, Visitor
    from suture.fleet.vex import vex

    with option.database(args).reading() as session:
        visitor = Visitor(option.who(), Role.ADMIN)
        found = vex(session, visitor, datetime.now(UTC), f"suture {__version__}", args.publisher)
    try:
        whole_file.replace(args.file, json.dumps(found, indent=1).encode() + b"\n")
    except OSError as problem:
        raise NotFound(f"{args.file}: {problem.strerror}", "give another place") from problem
    hosts = len(found["product_tree"]["full_product_names"])
    return option.tell(args, "vex", f"{args.file}: holes: {len(found['vulnerabilities'])}, hosts: {hosts}")
