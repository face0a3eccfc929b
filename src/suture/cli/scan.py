"""`suture scan`: what every process runs, and what is fixed in memory, on disk, or neither."""

from __future__ import annotations

import argparse
from pathlib import Path

from suture.cli.output import print_json, print_table
from suture.error import ExitCode, NotFound
from suture.process.scan import Standing, read_patches, scan

HELP = """\
List processes with the build-ids of what they have mapped, against the live patches in a folder and against the files on disk:
fixed in memory, fixed on disk only (the file was replaced, the process still runs the old one), or not fixed. One line for each
process and binary, with the reason. Static programs that hold a copy of a library's old code of their own are listed as not fixed."""
EXAMPLES = ("suture scan --patches /var/lib/suture/patches", "suture scan --json")
EXIT_CODES = (ExitCode.OK, ExitCode.NOT_FOUND)


def arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--patches", type=Path, metavar="DIR", help="a folder of .suture.o files to compare with")
    parser.add_argument("--open", action="store_true", help="only what is not fixed in memory")


def run(args: argparse.Namespace) -> int:
    if args.patches is not None and not args.patches.is_dir():
        raise NotFound(f"{args.patches}: no such folder", "give a folder of .suture.o files")
    patches, bad = read_patches(args.patches) if args.patches else ([], [])
    rows = scan(patches)
    if args.open:
        rows = [r for r in rows if r.standing is not Standing.FIXED_IN_MEMORY]
    if args.json:
        print_json({"processes": rows, "unreadable_patches": bad})
        return ExitCode.OK
    if rows:
        print_table(
            ("pid", "command", "file", "build-id", "standing", "CVEs", "why"),
            [(r.pid, r.command, r.file, r.build_id[:16], r.standing.value, ", ".join(r.cves), r.why) for r in rows],
        )
    else:
        print("nothing that a known patch is for, and no process runs a replaced file")
    for problem in bad:
        print(f"unreadable patch: {problem}")
    return ExitCode.OK
