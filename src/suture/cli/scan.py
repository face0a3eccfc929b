"""`suture scan`: what every process runs, and what is fixed in memory, on disk, or neither."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path

from suture.agent.policy import DEFAULT as POLICY
from suture.cli.output import print_document, print_table
from suture.cli.unread import unread_lines
from suture.error import ExitCode
from suture.host import mitigation
from suture.host.scan import scan_host
from suture.report.hole import shown
from suture.report.reason import Cause
from suture.report.scan import ScannedBinary, ScannedKernel, ScannedProcess

HELP = """\
List processes with the build-ids of what they have loaded, and compare them with the live patches in a folder
and with the files on disk. Each process and copy of a binary has one line.

*In memory* says what runs: fixed in memory (byte for byte what the patch file writes), partly fixed, not proved
(a patch whose file is not here), or not fixed. *On disk* says what the next start would run: not fixed (a patch
is for that build), same build, replaced (another build), deleted, or not read.

A static program that holds its own copy of a library's old code is listed as not fixed. If a patch is for the
running kernel, the kernel has a line of its own.

A hole that the administrator has declared mitigated is not fixed, and counts as mitigated until the day that the
declaration names. Declarations are tables [[mitigation]] of the agent's policy, or of the file of --mitigations
(docs/reference/agent-policy.md)."""
EXAMPLES = (
    "suture scan --patches /var/lib/suture/patches",
    "suture scan --patches DIR --mitigations ./mitigations.toml",
    "suture scan --json",
)
EXIT_CODES = (ExitCode.OK, ExitCode.USAGE, ExitCode.PARTIAL, ExitCode.NOT_FOUND)


def arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--patches", type=Path, metavar="DIR", help="a folder of .suture.o and .ko files to compare with"
    )
    parser.add_argument("--open", action="store_true", help="list only what is not fixed in memory, or not for long")

    parser.add_argument(
        "--mitigations", type=Path, metavar="FILE",
        help=f"declarations of holes that cannot be used here (default: those in {POLICY}, if it is there)",
    )  # fmt: skip


def run(args: argparse.Namespace) -> int:
    declared = args.mitigations or (POLICY if POLICY.exists() else None)
    rows = mitigation.load(declared) if declared else ()
    found = scan_host(args.patches, only_open=args.open, mitigations=rows)
    if args.json:
        print_document(found)
        return found.exit_code
    cells = [*([_kernel_cells(found.kernel)] if found.kernel else [])]
    cells += [_cells(process, binary) for process in found.processes for binary in process.binaries]
    if cells:
        print_table(("pid", "command", "file", "build-id", "in memory", "on disk", "CVEs", "why"), cells)
    else:
        print("nothing that a known patch is for, and no process runs a replaced file")
    for line in unread_lines(found.unread):
        print(line)
    for problem in found.unreadable_patches:
        print(f"unreadable patch: {problem.text}")
    return found.exit_code


def _kernel_cells(kernel: ScannedKernel) -> tuple[str, ...]:
    cves, why = ", ".join(shown(kernel.holes)), _words(kernel.causes)
    name = f"{kernel.release} {kernel.version}"
    return "-", "kernel", name, kernel.build_id[:16], kernel.memory.value, kernel.disk.value, cves, why


def _cells(process: ScannedProcess, binary: ScannedBinary) -> tuple[str, ...]:
    cves, why = ", ".join(shown(binary.holes)), _words(binary.causes)
    if binary.copies > 1:
        why = f"the copy at {binary.address:#x} of {binary.copies}: {why}"
    return (
        str(process.pid),
        process.command,
        binary.file,
        binary.build_id[:16],
        binary.memory.value,
        binary.disk.value,
        cves,
        why,
    )


def _words(causes: Sequence[Cause]) -> str:
    return "; ".join(c.text for c in causes)
