"""Tries every fix of this folder on the archive's binaries and writes docs/results/coverage.md. For
`bench/coverage`."""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Sequence
from pathlib import Path

from fix import Fix, load_fixes
from row import Bench, Row, State
from table import document, plain, summary

_DOCUMENT = Path(__file__).resolve().parent.parent / "docs/results/coverage.md"


def main(words: Sequence[str] | None = None) -> int:
    """Exit code 1 when a row failed (a refusal is no failure), 2 for a name that there is not."""
    parser = argparse.ArgumentParser(
        prog="bench/coverage",
        description="Makes, applies and reverts live patches for real fixes and asks a trigger each time. Without "
        "names it takes all fixes and writes docs/results/coverage.md; with names it only prints.",
    )
    parser.add_argument("names", nargs="*", metavar="NAME", help="a fix of coverage/fixes, without .toml")
    parser.add_argument(
        "--stand-in",
        action="store_true",
        help="no live patch: check that each trigger tells the shipped package from the fixed one",
    )
    parser.add_argument("--json", action="store_true", help="print one JSON object per row")
    args = parser.parse_args(words)
    fixes = load_fixes()
    unknown = set(args.names) - {fix.name for fix in fixes}
    if unknown:
        parser.error(f"no such fix: {', '.join(sorted(unknown))}")
    chosen = [fix for fix in fixes if not args.names or fix.name in args.names]
    rows = _run(chosen, args.stand_in, args.json)
    if args.stand_in:
        agree = sum(row.state is State.CLOSED for row in rows)
        print(f"{agree} of {len(rows)} triggers tell the shipped package from the fixed one", file=sys.stderr)
    else:
        print(summary(rows), file=sys.stderr)
    if not args.names and not args.stand_in:
        _DOCUMENT.write_text(document(rows, "bench/coverage"))
        print(f"wrote {_DOCUMENT.relative_to(_DOCUMENT.parent.parent)}", file=sys.stderr)
    return int(any(row.state is State.FAILED for row in rows))


def _run(fixes: Sequence[Fix], stand_in: bool, as_json: bool) -> list[Row]:
    rows = []
    bench = Bench()
    try:
        for fix in fixes:
            if stand_in and fix.trigger is None:
                continue
            row = bench.stand_in(fix) if stand_in else bench.row(fix)
            rows.append(row)
            print(json.dumps(_plain_row(row)) if as_json else _text(row), flush=True)
    finally:
        bench.close()
    return rows


def _text(row: Row) -> str:
    outcome = " -> ".join(x for x in (row.before, row.after, row.reverted) if x)
    return f"{row.state.value:9} {row.fix.name:32} {outcome}" + (f"  ({plain(row.note)})" if row.note else "")


def _plain_row(row: Row) -> dict[str, object]:
    return {
        "name": row.fix.name,
        "state": row.state.value,
        "binaries": row.binaries,
        "functions": row.functions,
        "closed": row.closed,
        "missing": row.missing,
        "before": row.before,
        "after": row.after,
        "reverted": row.reverted,
        "make_seconds": row.make_seconds,
        "pause_us": row.pause,
        "note": plain(row.note),
    }


if __name__ == "__main__":
    sys.exit(main())
