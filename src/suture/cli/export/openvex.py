"""`suture export openvex`."""

from __future__ import annotations

import argparse
import json

from suture import __version__
from suture.cli.export import option

SUMMARY = "OpenVEX, for scanners of vulnerabilities"
HELP = """\
Print an OpenVEX document (version 0.2.0) with one statement for each CVE. The product is this host as it runs; its
parts are the packages that run, by version, which may be older than what is installed.

`fixed`: closed in memory everywhere. `affected`: open in a process; the action says what to do. `under_investigation`:
not known. A hole that is closed until the next start is `fixed` with a note, so write the document anew after a
restart. A host without a known hole has nothing to state: then it ends with exit code 10."""
EXAMPLES = ("suture export openvex", "suture export openvex --patches patches --output host.vex.json")
EXIT_CODES = option.EXIT_CODES


def arguments(parser: argparse.ArgumentParser) -> None:
    option.add(parser)
    option.add_output(parser)


def run(args: argparse.Namespace) -> int:
    from suture.export.openvex import openvex

    found = option.picture(args)
    text = json.dumps(openvex(found, f"suture {__version__}"), indent=2) + "\n"
    return option.put(args, "openvex", text, found)
