"""`suture export nagios`."""

from __future__ import annotations

import argparse

from suture.cli.export import option
from suture.cli.output import print_document
from suture.error import SutureError
from suture.report.document import ExportReport
from suture.report.moment import now

SUMMARY = "one line and a status, as a plugin of Nagios and its like"
HELP = """\
Print one line, and end with the status of a plugin of Nagios, Icinga and their like. CRITICAL: a hole is open in what
runs. WARNING: it is not known, it is lost at the next start, a process refused a patch, a patch waits, a process could
not be looked at, or the agent has a problem. UNKNOWN: nothing can be said. The numbers after the bar are for graphs."""
EXAMPLES = ("suture export nagios",)
OWN_CODES = {0: "OK", 1: "WARNING", 2: "CRITICAL, or the command line is wrong", 3: "UNKNOWN"}


def arguments(parser: argparse.ArgumentParser) -> None:
    option.add(parser)


def run(args: argparse.Namespace) -> int:
    from suture.export.nagios import failed, line

    try:
        found = option.picture(args)
        said = line(found)
    except SutureError as error:  # its exit codes mean other things to who asks
        if args.json:
            raise
        said = failed(f"{error.what}; {error.remedy}")
        print(said.text)
        return said.status
    if args.json:
        print_document(ExportReport(now(), said.status, found.scan.host, "nagios", "", said.text))
    else:
        print(said.text)
    return said.status
