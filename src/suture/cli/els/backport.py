"""`suture els backport`: a newer release's fix, made in an older release's source."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

from suture.cli.els import option
from suture.cli.output import print_document, print_table, progress
from suture.error import ExitCode
from suture.report.document import BackportReport
from suture.report.els import BackportedFile, BackportedFix, BackportFinding, FixState, Objection
from suture.report.moment import now

if TYPE_CHECKING:
    from suture.els.backport import Backport
    from suture.els.need import Need
    from suture.source.archive import SourceVersion

SUMMARY = "make a newer release's fix in an older release's source"
HELP = """\
Make fixes of a newer release in the source of an older one, and write each as a patch for its series.

Each file is merged whole and function by function, lines first and then tokens, and patch(1) is asked as well. Suture
writes a patch only where all ways that reach a result make the same code, the change lands in the functions that the
fix means, the old release has every name that the fix uses, and the code that the fix replaces stands nowhere else.
Everything else is handed to you with the reason, and exit code 5.

A patch that was written is not yet proved. Build the package with it and run its tests before you use it."""
EXAMPLES = (
    "# one fix, by its CVE",
    "suture els backport libpng1.6 --fix CVE-2025-64720 --output patches",
    "# by the name of the patch",
    "suture els backport expat --fix CVE-2024-45490.patch --output patches",
    "# all that `suture els plan` lists",
    "suture els backport libpng1.6 --all --output patches",
)
EXIT_CODES = option.EXIT_CODES


def arguments(parser: argparse.ArgumentParser) -> None:
    option.add(parser)
    option.add_fix(parser)
    parser.add_argument("--all", action="store_true", help="all fixes that the older release lacks")
    parser.add_argument("--output", type=Path, metavar="DIR", help="where patches are written (default: nowhere)")


def run(args: argparse.Namespace) -> int:
    from suture.cli.main import UsageError
    from suture.els.carry import Carrier
    from suture.els.need import chosen, needs, ordered

    if bool(args.fix) == args.all:
        raise UsageError("give --fix for each fix to carry, or --all", "suture els plan lists them")
    rows = []
    with progress(args) as step:
        old, newer = option.sources(args, step)
        wanted = needs(old, newer) if args.all else chosen(newer, args.fix)
        carrier = Carrier(old, newer)
        for need in ordered(wanted, newer):
            step(f"carrying {need.name}")
            found = carrier.carry(need)
            path = _write(args.output, need, found, newer) if args.output and found.is_whole else None
            rows.append(fix_row(need, found, path))
    code = ExitCode.OK if all(r.state is FixState.WHOLE for r in rows) else ExitCode.PARTIAL
    if args.json:
        print_document(BackportReport(now(), code, args.package, old.version, newer.version, tuple(rows)))
    else:
        _print(rows)
    return code


def fix_row(need: Need, found: Backport, path: Path | None) -> BackportedFix:
    """What came of carrying a fix, for a report."""
    kinds = {f.kind for f in found.findings}
    if found.is_whole:
        state = FixState.WHOLE
    else:
        state = FixState.THERE if kinds == {Objection.THERE} and not found.carried else FixState.HANDED_OVER
    return BackportedFix(
        need.cves,
        tuple(f.name for f in need.patches),
        state,
        "" if path is None else str(path),
        tuple(BackportedFile(c.path, c.way) for c in found.carried),
        tuple(BackportFinding(f.kind, f.path, f.about, f.reason) for f in found.findings),
        found.left_out,
    )


def _write(folder: Path, need: Need, found: Backport, newer: SourceVersion) -> Path:
    from suture.els.patch import text
    from suture.whole_file import replace

    path = folder / f"{need.name.replace('/', '_').removesuffix('.patch')}.patch"
    replace(path, text(need, found, newer).encode(errors="surrogateescape"))
    return path


def _print(rows: list[BackportedFix]) -> None:
    table = []
    for row in rows:
        name = " ".join(row.cves) or ", ".join(row.patches)
        ways = ", ".join(f"{f.path} ({f.way.value})" for f in row.files)
        why = "; ".join(f"{f.path}: {f.reason}{f' ({f.about})' if f.about else ''}" for f in row.findings)
        if not (row.findings or row.files):
            why = f"no file of it is code: {', '.join(row.left_out) or 'it changes none'}"
        table.append((name, row.state.value, row.path or why or ways))
    print_table(("fix", "state", "patch, or what is left to you"), table)
    done = sum(r.state is FixState.WHOLE for r in rows)
    print(f"{done} of {len(rows)} fixes carried; build the package with them and run its tests before you use them")
