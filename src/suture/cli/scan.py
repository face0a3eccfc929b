"""`suture scan`: what every process runs, and what is fixed in memory, on disk, or neither."""

from __future__ import annotations

import argparse
from pathlib import Path

from suture.cli.output import print_json, print_table
from suture.cli.unread import unread_lines
from suture.error import ExitCode, NotFound
from suture.kernel import standing as kernel
from suture.process.see.scan import read_patches, scan
from suture.report.row import KernelRow, Row

HELP = """\
List processes with the build-ids of what they have loaded, against the live patches in a folder and against the files on disk. One
line for each process and copy of a binary. *In memory* says what runs: fixed in memory (what is there is what the patch file writes,
byte for byte), partly fixed, not proved (a patch whose file is not here), not fixed. *On disk* says what the next start would
run: not fixed (a patch is for that build), same build, replaced (another build), deleted, not read. Static programs that hold a copy of
a library's old code of their own are listed as not fixed. The running kernel has a line of its own when a patch is for it."""
EXAMPLES = ("suture scan --patches /var/lib/suture/patches", "suture scan --json")
EXIT_CODES = (ExitCode.OK, ExitCode.PARTIAL, ExitCode.NOT_FOUND)


def arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--patches", type=Path, metavar="DIR", help="a folder of .suture.o and .ko files to compare with"
    )
    parser.add_argument(
        "--open", action="store_true", help="leave out what is fixed in memory until it is started again"
    )


def run(args: argparse.Namespace) -> int:
    if args.patches is not None and not args.patches.is_dir():
        raise NotFound(f"{args.patches}: no such folder", "give a folder of .suture.o and .ko files")
    patches, bad = read_patches(args.patches) if args.patches else ([], [])
    modules, bad_modules = kernel.read_patches(args.patches) if args.patches else ([], [])
    bad = [*bad, *bad_modules]
    found, own = scan(patches), kernel.scan(modules)
    if own is not None and args.open and not own.standing.is_open:
        own = None
    rows = [r for r in found.rows if r.standing.is_open or not args.open]
    code = ExitCode.PARTIAL if found.unread or bad else ExitCode.OK
    if args.json:
        print_json({"processes": rows, "kernel": own, "unread": found.unread, "unreadable_patches": bad})
        return code
    cells = [*([_kernel_cells(own)] if own else []), *(_cells(r) for r in rows)]
    if cells:
        print_table(("pid", "command", "file", "build-id", "in memory", "on disk", "CVEs", "why"), cells)
    else:
        print("nothing that a known patch is for, and no process runs a replaced file")
    for line in unread_lines(found.unread):
        print(line)
    for problem in bad:
        print(f"unreadable patch: {problem}")
    return code


def _kernel_cells(row: KernelRow) -> tuple[str, ...]:
    standing, cves = row.standing, ", ".join(row.cves)
    name = f"{row.release} {row.version}"
    return "-", "kernel", name, row.build_id[:16], standing.memory.value, standing.disk.value, cves, row.why


def _cells(row: Row) -> tuple[str, ...]:
    standing = row.standing
    cves = ", ".join(row.cves)
    return (
        str(row.pid),
        row.command,
        row.file,
        row.build_id[:16],
        standing.memory.value,
        standing.disk.value,
        cves,
        row.why,
    )
