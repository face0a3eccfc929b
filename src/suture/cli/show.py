"""`suture show`: what a live patch replaces, its verdict and its proof."""

from __future__ import annotations

import argparse
from pathlib import Path

from suture.cli.demangle import plain_names
from suture.cli.kernel_patch import print_kernel_patch
from suture.cli.ledger import cve_lines, fix_lines, unsaid
from suture.cli.make import print_refused
from suture.cli.output import print_document, print_table
from suture.cli.tripwires import print_tripwires
from suture.error import ExitCode
from suture.host.described import shown
from suture.host.recipient import read, refuse_for_kernel
from suture.kernel.manifest import KernelPatch
from suture.patch.file import PatchFile
from suture.patch.manifest import Manifest, Target

HELP = """
Print what a live patch is for, which functions it replaces, and which CVEs it closes; what became of each line
of its fixes; what was refused and why; and what was matched to prove that the patch fits. Suture runs nothing
and reads no process.
"""
EXAMPLES = (
    "suture show openssl-CVE-2025-9230.suture.o",
    "# every matched section and every symbol with the places that imply its address",
    "suture show --proof openssl-CVE-2025-9230.suture.o",
    "# old against new machine code of one function",
    "suture show --disassemble kek_unwrap_key openssl-CVE-2025-9230.suture.o",
)
EXIT_CODES = (ExitCode.OK, ExitCode.BAD_PATCH, ExitCode.NOT_FOUND, ExitCode.NO_PERMISSION)


def arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("patch", type=Path, metavar="PATCH", help="a live patch file (NAME.suture.o)")
    parser.add_argument(
        "--proof", action="store_true", help="list matched sections and the evidence for each symbol's address"
    )
    parser.add_argument(
        "--ledger",
        action="store_true",
        help="print what became of every changed line, with line numbers (default: a summary by file)",
    )
    parser.add_argument(
        "--disassemble",
        metavar="FUNCTION",
        nargs="?",
        const="*",
        help="old against new code of a function, or of all: the old code is read from the shipped binary",
    )
    parser.add_argument(
        "--binary", type=Path, metavar="FILE", help="the shipped binary (default: fetched from the archive)"
    )


def run(args: argparse.Namespace) -> int:
    patch = read(args.patch)
    if isinstance(patch, KernelPatch):
        refuse_for_kernel(
            ("--disassemble", args.disassemble, "use objdump -dr FILE.ko"),
            ("--binary", args.binary, "leave it out, as --disassemble, which it belongs to"),
        )
    if args.json:
        print_document(shown(patch))
    elif isinstance(patch, KernelPatch):
        print_kernel_patch(patch, args.ledger, args.proof)
    else:
        _print_summary(patch, args.ledger)
        if args.proof:
            _print_proof(patch.manifest)
        if args.disassemble:
            _print_code(patch, args.disassemble, args.binary)
    return ExitCode.OK


def _print_code(patch: PatchFile, function: str, binary: Path | None) -> None:
    from suture.make.disassembly import compare

    print()
    for line in compare(patch, function, binary):
        print(line)


def _print_summary(patch: PatchFile, every_line: bool) -> None:
    m = patch.manifest
    print(f"patch     {patch.id}  {m.name}")
    print(f"target    {_target(m.target)}")
    print(f"build-id  {m.target.build_id}")
    for line in cve_lines(m.fixes, m.target.file):
        print(f"CVEs      {line}")
    units = len(m.proof.units)
    whole = sum(u.whole for u in m.proof.units)
    size = sum(s.size for u in m.proof.units for s in u.sections)
    compared = sum(s.compared for u in m.proof.units for s in u.sections)
    print(
        f"proof     {whole} of {units} unit{'s' * (units != 1)} found whole: {size} bytes of code, {compared} "
        f"compared equal, the rest filled in by the linker; {sum(len(u.agreed_symbols) for u in m.proof.units)} "
        f"exported symbols agree; {len(m.proof.symbols)} addresses implied"
    )
    print(
        "verdict   "
        f"{'all of the fix is in this patch' if m.is_complete else 'PARTIAL: part of the fix is missing, see below'}"
    )
    print(f"grade     {m.grade.value}")
    for one in m.verdict.review:
        print(f"look at   {one.file}: {one.function} {one.what} ({one.kind})")
    if m.relaxed:
        print(f"relaxed   {m.relaxed}")
    for note in m.verdict.notes:
        print(f"note      {note}")
    print()
    for line in fix_lines(m.fixes, m.target.file, every_line):
        print(line)
    print()
    names = iter(plain_names([f.name for f in m.functions]))
    rows = [
        (next(names), f"{f.address:#x}", f.size, _new_size(patch, f.new), g.name, f.consistency.value)
        for g in m.groups
        for f in g.functions
    ]
    print_table(("replaced function", "address", "old bytes", "new bytes", "group", "consistency"), rows)
    print_tripwires(m.tripwires, m.without_tripwire)
    left = unsaid(m.fixes, m.verdict.refused)
    if left:
        print()
        print_refused(left)


def _target(target: Target) -> str:
    """A binary of one's own tree is of no package and has no version."""
    package = f" of {target.package}" if target.package else ""
    source = f"{target.source} {target.version}".strip()
    return f"{target.file}{package} ({source}, {target.architecture})"


def _new_size(patch: PatchFile, symbol: str) -> int:
    return patch.symbol(symbol).st_size


def _print_proof(manifest: Manifest) -> None:
    for unit in manifest.proof.units:
        print()
        print(f"{unit.source} ({unit.object}): {'whole' if unit.whole else 'function by function'}")
        print_table(
            ("section", "size", "compared", "address"),
            [(s.name, s.size, s.compared, f"{s.address:#x}") for s in unit.sections],
        )
        if unit.agreed_symbols:
            print(f"exported symbols that agree: {', '.join(unit.agreed_symbols)}")
    print()
    print_table(
        ("symbol", "address", "implied by"),
        [(s.name, f"{s.address:#x}", "; ".join(s.implied_by)) for s in manifest.proof.symbols],
    )
