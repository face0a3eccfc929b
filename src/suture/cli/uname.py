"""`suture uname`: which kernel runs in effect."""

from __future__ import annotations

import argparse

from suture.cli.output import print_json
from suture.error import ExitCode
from suture.kernel.livepatch import patches
from suture.kernel.version import effective

HELP = """\
Print the running kernel's release and the version that it is in effect: the source version all of whose fixes its live patches
bring, else the running version with the number of fixes on top. --json lists fixes and CVEs."""
EXAMPLES = ("suture uname", "suture uname --json")
EXIT_CODES = (ExitCode.OK,)


def arguments(parser: argparse.ArgumentParser) -> None:
    """No options of its own."""


def run(args: argparse.Namespace) -> int:
    version = effective(patches())
    if args.json:
        print_json(version)
    else:
        print(version.line())
    return ExitCode.OK
