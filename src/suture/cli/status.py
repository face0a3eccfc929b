"""`suture status`: list the live patches that running processes carry."""

from __future__ import annotations

import argparse
import shlex
from collections import Counter
from collections.abc import Sequence
from functools import partial
from pathlib import Path

from suture.cli import number
from suture.cli.output import print_document, print_table
from suture.cli.unread import unread_lines
from suture.error import ExitCode
from suture.host.status import status_of_kernel, status_of_processes
from suture.process.see.aside import named
from suture.report.document import CarryingProcess, StatusReport
from suture.report.host import Kernel
from suture.report.kernel import KernelStatus
from suture.report.patch import PatchState

HELP = """\
List the live patches that running processes carry, and whether they are in force. Suture reads all of this from
the processes themselves: from their maps, the record in the patch's memory, and the code of the old functions.
So it is what they say of themselves; `suture scan --patches DIR` compares it with the patch files."""
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
        "--gdb", type=Path, metavar="PATCH", help="print the commands that make a patch's frames known to gdb"
    )
    parser.add_argument("--kernel", action="store_true", help="the running kernel's live patches instead")


def run(args: argparse.Namespace) -> int:
    if args.gdb:
        return _print_for_gdb(args.gdb, args.pid)
    found = status_of_kernel() if args.kernel else status_of_processes(args.pid)
    if args.json:
        print_document(found)
    elif found.kernel is not None:
        _print_kernel(found.host.kernel, found.kernel)
    else:
        _print_processes(found, args.pid)
    return found.exit_code


def _print_processes(found: StatusReport, pids: Sequence[int]) -> None:
    if not any(p.patches for p in found.processes):
        print("no process carries a live patch" if not pids else "no live patch there")
    else:
        print_table(
            ("pid", "command", "patch", "state", "target", "name", "CVEs", "detail"),
            [row for process in found.processes for row in _rows(process)],
        )
    for process in found.processes:
        for one in process.tripwires:
            if one.count:
                wire = one.wire
                times = f"{one.count} attempt{'s' * (one.count != 1)}"
                print(f"{process.pid} {process.command}: {times}: {', '.join(wire.cves)} {wire.file}:{wire.line}")
    for line in unread_lines(found.unread):
        print(line)


def _print_kernel(kernel: Kernel, found: KernelStatus) -> None:
    print(kernel.line())
    if kernel.cves:
        print(f"closed live: {', '.join(kernel.cves)}")
    if found.patches:
        print_table(
            ("patch", "state", "functions", "fixes", "CVEs"),
            [
                (
                    p.name,
                    p.state + (", part of the fixes" if p.is_partial else ""),
                    ", ".join(f"{f.object}:{f.name}" for f in p.functions),
                    ", ".join(p.fixes),
                    ", ".join(p.cves),
                )
                for p in found.patches
            ],
        )
    else:
        print("the running kernel has no live patch")
    for patch in found.patches:
        for one in patch.tripwires:
            if one.count:
                times = f"{one.count} attempt{'s' * (one.count != 1)}"
                print(f"{patch.name}: {times}: {', '.join(one.wire.cves)} {one.wire.file}:{one.wire.line}")
    for t in found.holding:
        print(f"not changed over: {t.command} (pid {t.pid}, task {t.tid}, {t.state}): {' < '.join(t.stack[:8])}")
    for row in found.at_boot:
        print(f"at boot: {row.name}: {row.state}")


def _print_for_gdb(path: Path, pids: Sequence[int]) -> int:
    """One line for each place where a process has the patch: gdb takes names and call frame information from the patch
    file."""
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
                sections = lay_out(patch, placed.record.companions).sections
                places = [f"-s {s.name} {placed.record.base + sections[s.index]:#x}" for s in patch.sections]
                print(f"add-symbol-file {shlex.quote(str(path.resolve()))} {' '.join(places)}")
    return ExitCode.OK


def _rows(process: CarryingProcess) -> list[tuple[str, ...]]:
    rows: list[tuple[str, ...]] = []
    times = Counter(s.id for s in process.patches)
    for s in process.patches:
        applied = sum(g.state is PatchState.APPLIED for g in s.groups)
        details = [f"the copy of {s.file} at {s.bias:#x}"] if times[s.id] > 1 and s.bias else []
        if s.why is not None:
            details.append(s.why.text)
        elif s.state is PatchState.PARTIAL:
            details.append(f"{applied} of {len(s.groups)} groups")
        if s.old_frames is not None:
            details.append(s.old_frames.text or "nobody is in old code any more")
        if s.companions:
            details.append(f"together with {', '.join(s.companions)}")
        row = (s.id, s.state.value, s.file, s.name, ", ".join(s.cves), "; ".join(details))
        rows.append((str(process.pid), process.command, *row))
    return rows
