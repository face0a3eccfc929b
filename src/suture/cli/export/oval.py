"""`suture export oval`."""

from __future__ import annotations

import argparse

from suture import __version__
from suture.cli.export import option

SUMMARY = "OVAL definitions, for openscap and its like"
HELP = """\
Print OVAL definitions (version 5.11) of class vulnerability, one for each CVE. `oscap oval eval` says true where the
hole is open in what runs, false where it is closed, and unknown where that is not known.

What they compare is what was found when they were written, so write them anew before each evaluation."""
EXAMPLES = ("suture export oval --output host.oval.xml && oscap oval eval host.oval.xml",)
EXIT_CODES = option.EXIT_CODES


def arguments(parser: argparse.ArgumentParser) -> None:
    option.add(parser)
    option.add_output(parser)


def run(args: argparse.Namespace) -> int:
    from suture.export.oval import oval

    found = option.picture(args)
    return option.put(args, "oval", oval(found, __version__), found)
