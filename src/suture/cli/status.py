"""`suture status`: list the live patches that running processes carry."""

from __future__ import annotations

import argparse

from suture.cli.output import print_json, print_table
from suture.error import ExitCode
from suture.process.status import ProcessStatus, status, status_of_all

HELP = """\
List the live patches that running processes carry and whether they are in force. All of it is read from the processes
themselves: their maps, the record in the patch's memory, and the code at the old functions."""
EXAMPLES = ("suture status", "suture status 812 --json")
EXIT_CODES = (ExitCode.OK, ExitCode.NO_PROCESS, ExitCode.NO_PERMISSION)


def arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("pid", type=int, nargs="*", help="processes (default: all)")
    parser.add_argument("--kernel", action="store_true", help="the running kernel's live patches instead")


def run(args: argparse.Namespace) -> int:
    if args.kernel:
        from suture.cli import kernel

        return kernel.status(args)
    found = [status(pid) for pid in args.pid] if args.pid else status_of_all()
    if args.json:
        print_json({"processes": found})
    elif not any(p.patches for p in found):
        print("no process carries a live patch" if not args.pid else "no live patch there")
    else:
        print_table(
            ("pid", "command", "patch", "state", "target", "name", "CVEs", "detail"),
            [row for process in found for row in _rows(process)],
        )
    return ExitCode.OK


def _rows(process: ProcessStatus) -> list[tuple[str, ...]]:
    rows: list[tuple[str, ...]] = []
    for s in process.patches:
        applied = sum(g.state.value == "applied" for g in s.groups)
        detail = s.why or (f"{applied} of {len(s.groups)} groups" if s.state.value == "partial" else "")
        if s.old_frames is not None:
            detail = "; ".join(d for d in (detail, s.old_frames.text or "nobody is in old code any more") if d)
        rows.append((str(process.pid), process.command, s.id, s.state.value, s.file, s.name, ", ".join(s.cves), detail))
    return rows
