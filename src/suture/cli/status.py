"""`suture status`: list the live patches that running processes carry."""

from __future__ import annotations

import argparse
import shlex
from collections import Counter
from collections.abc import Sequence
from functools import partial
from pathlib import Path

from suture.cli import number
from suture.cli.output import print_json, print_table
from suture.cli.unread import unread_lines
from suture.error import ExitCode
from suture.process.see.aside import named
from suture.process.see.status import ProcessStatus, status, status_of_all

HELP = """\
List the live patches that running processes carry and whether they are in force. All of it is read from the processes
themselves: their maps, the record in the patch's memory, and the code at the old functions. So it is what they say of themselves;
`suture scan --patches DIR` compares it with the patch files."""
EXAMPLES = (
    "suture status",
    "suture status 812 --json",
    "# a backtrace through the functions of a patch",
    "suture status 812 --gdb x.suture.o >patch.gdb && gdb -p 812 -x patch.gdb",
)
EXIT_CODES = (
    ExitCode.OK,
    ExitCode.PARTIAL,
    ExitCode.NO_PROCESS,
    ExitCode.NO_PERMISSION,
    ExitCode.BAD_PATCH,
    ExitCode.NOT_FOUND,
)


def arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("pid", type=number.pid, nargs="*", help="processes (default: all)")
    parser.add_argument(
        "--gdb", type=Path, metavar="PATCH", help="print the gdb commands that make a patch's frames known to it"
    )
    parser.add_argument("--kernel", action="store_true", help="the running kernel's live patches instead")


def run(args: argparse.Namespace) -> int:
    if args.kernel:
        from suture.cli import kernel

        return kernel.status(args)
    if args.gdb:
        return _print_for_gdb(args.gdb, args.pid)
    found, unread = ([named(pid, partial(status, pid)) for pid in args.pid], []) if args.pid else status_of_all()
    if args.json:
        print_json({"processes": found, "unread": unread})
    elif not any(p.patches for p in found):
        print("no process carries a live patch" if not args.pid else "no live patch there")
    else:
        print_table(
            ("pid", "command", "patch", "state", "target", "name", "CVEs", "detail"),
            [row for process in found for row in _rows(process)],
        )
    if not args.json:
        for line in unread_lines(unread):
            print(line)
    return ExitCode.PARTIAL if unread else ExitCode.OK


def _print_for_gdb(path: Path, pids: Sequence[int]) -> int:
    """One line for each place where a process has the patch: gdb takes names and call frame information from the patch file."""
    from suture.patch.file import read_patch
    from suture.patch.link import lay_out
    from suture.process.memory.maps import read_maps
    from suture.process.memory.placed import Placed, find_placed
    from suture.process.see.find import find
    from suture.process.tracee import Tracee

    def carried(pid: int) -> list[Placed]:
        with Tracee(pid) as tracee:
            return find_placed(tracee.via, read_maps(tracee.via))[0]

    patch = read_patch(path)
    for pid in pids or find(patch.manifest.target.build_id):
        for placed in named(pid, partial(carried, pid)):
            if placed.record.id == patch.id:
                sections = lay_out(patch).sections
                places = [f"-s {s.name} {placed.record.base + sections[s.index]:#x}" for s in patch.sections]
                print(f"add-symbol-file {shlex.quote(str(path.resolve()))} {' '.join(places)}")
    return ExitCode.OK


def _rows(process: ProcessStatus) -> list[tuple[str, ...]]:
    rows: list[tuple[str, ...]] = []
    times = Counter(s.id for s in process.patches)
    for s in process.patches:
        applied = sum(g.state.value == "applied" for g in s.groups)
        detail = s.why or (f"{applied} of {len(s.groups)} groups" if s.state.value == "partial" else "")
        if times[s.id] > 1 and s.bias:
            detail = "; ".join(d for d in (f"the copy of {s.file} at {s.bias:#x}", detail) if d)
        if s.old_frames is not None:
            detail = "; ".join(d for d in (detail, s.old_frames.text or "nobody is in old code any more") if d)
        rows.append((str(process.pid), process.command, s.id, s.state.value, s.file, s.name, ", ".join(s.cves), detail))
    return rows
