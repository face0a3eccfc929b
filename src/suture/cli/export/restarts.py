"""`suture export restarts`."""

from __future__ import annotations

import argparse

from suture.cli.export import option
from suture.cli.output import print_document, print_table
from suture.cli.unread import unread_lines
from suture.report.document import RestartReport
from suture.report.restart import NeededRestart

SUMMARY = "the processes that still need a restart, and why"
HELP = """\
List the processes that run old code which no live patch has replaced: their file on disk is replaced or deleted, or a
patch shows a hole in them. A process that is fixed in memory needs no restart and is not listed.

With --batch the lines are those of `needrestart -b`, for programs that read them."""
EXAMPLES = ("suture export restarts", "suture export restarts --batch")
EXIT_CODES = option.EXIT_CODES


def arguments(parser: argparse.ArgumentParser) -> None:
    option.add(parser)
    parser.add_argument("--batch", action="store_true", help="lines for programs, as `needrestart -b` prints them")


def run(args: argparse.Namespace) -> int:
    from suture.export.restart import batch, restarts

    scan = option.picture(args).scan
    found = restarts(scan)
    if args.json:
        print_document(found)
    elif args.batch:
        for line in batch(found, scan.kernel.next_boot if scan.kernel else ""):
            print(line)
    else:
        _tell(found)
    return found.exit_code


def _tell(found: RestartReport) -> None:
    if found.reboot:
        print("the kernel runs old code that no live patch has replaced: reboot")
    if found.processes:
        columns = ("pid", "command", "unit", "file", "CVEs", "to do", "why")
        print_table(columns, [_cells(row) for row in found.processes])
    elif not found.reboot:
        print("no process needs a restart")
    for line in unread_lines(found.unread):
        print(line)


def _cells(row: NeededRestart) -> tuple[str, ...]:
    files, cves = ", ".join(row.files), ", ".join(row.cves)
    names = f"upgrade {' '.join(row.packages)}, then restart" if row.packages else "install the fix, then restart"
    why = "; ".join(c.text for c in row.why)
    return str(row.pid), row.command, row.unit, files, cves, "restart" if row.enough else names, why
