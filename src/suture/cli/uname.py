"""`suture uname`: which kernel runs in effect."""

from __future__ import annotations

import argparse

from suture.cli.output import print_document
from suture.error import ExitCode
from suture.host.status import uname

HELP = """\
Print the running kernel's release, and the version that it equals in effect: the source version whose fixes its
live patches bring completely, otherwise the running version and the number of fixes on top. --json lists fixes
and CVEs."""
EXAMPLES = ("suture uname", "suture uname --json")
EXIT_CODES = (ExitCode.OK,)


def arguments(parser: argparse.ArgumentParser) -> None:
    """No options of its own."""


def run(args: argparse.Namespace) -> int:
    found = uname()
    if args.json:
        print_document(found)
    else:
        print(found.host.kernel.line())
    return found.exit_code
