"""docs/results/postgresql.md and docs/results/postgresql.svg from the kept raw numbers."""

from __future__ import annotations

import math
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import postgresql
import postgresql_fixes
from facts import RESULTS, Record
from markdown_table import table

_DOCS = Path(__file__).resolve().parent.parent / "docs/results"
_WIDTH, _HEIGHT, _LEFT, _BOTTOM = 900, 320, 60, 40
_COLOURS = {"p50": "#1b6ca8", "p99": "#d98200", "max": "#a83232"}

_SESSION = """\
# PostgreSQL

Written by `.venv/bin/python bench/postgresql_page.py` from the numbers of `bench/postgresql_fixes` and
`bench/postgresql`. Not edited by hand.

Postmaster, backends and background workers are one tree of processes that run one program. `suture apply PATCH` without
a pid covers all of them, in every container; later connections are born of the postmaster and inherit the patch by
fork.

## A session that can be repeated

As root, with a cluster of postgresql-13 13.16-0+deb11u1 running (a chroot or container of bullseye will do):

```
suture make --source postgresql-13=13.16-0+deb11u1 --to 13.23-0+deb11u4 \\
    --only src/backend/commands/statscmds.c --cve CVE-2025-12817
suture apply postgresql-13-*-postgres.suture.o          # the whole cluster
suture status                                           # each process with the patch
suture scan --patches . --open                          # whom it is missing in
suture revert postgresql-13-*-postgres.suture.o
```

The first make prepares the tree (clean room, configure, headers, commands of all units; minutes), later ones take
seconds. `bench/postgresql_fixes` does all of this by itself, cluster included.

- **One fix, one stop**: in each process all functions of a fix switch together or not at all. Processes switch one
  after the other. With `suture make --apart REASON` functions switch as they are free, where each function's change
  stands alone (docs/explanation/applying.md, "Groups"). A patch that holds a part of its fix goes in only with `suture
  apply --accept-partial`.
- **Modules** (`pgcrypto.so`, `ltree.so`, `refint.so`): a backend loads them when it first needs them, from the file.
  Backends that have them are patched; one that loads the module later is not, unless the file is fixed or the module is
  in `shared_preload_libraries`. `suture scan` shows them; run `suture apply` again.
- **A standing connection** waits in its main loop (`PostgresMain`), as the postmaster does in `ServerLoop`: functions
  that do not return are never free, so a fix of one of these, or of code that was inlined into one, is refused as busy,
  with its name (*startup-recursion*).
- **A module's fix may call a function of the server which the module did not call before** (*refint-injection*,
  *pgp-text-encoding*): the shipped `postgres` exports it, and in the process it is looked up as the loader would.
- **Cached plans** were made by the old code. They are kept until they are invalid or the session ends.
- A fix of a header that most files include (`builtins.h`) makes every one of them be compiled for comparison, some
  minutes. Put the declaration into the files that need it, as bench/fixes/postgresql-13-CVE-2026-2003.patch does.
"""


def main() -> int:
    fixes, load = (Record.read(RESULTS / f"{name}.json") for name in ("postgresql_fixes", "postgresql"))
    (_DOCS / "postgresql.md").write_text(document(fixes, load))
    (_DOCS / "postgresql.svg").write_text(plot(load.data))
    return 0


def document(fixes: Record, load: Record) -> str:
    """The page, from the records of both benchmarks."""
    return "\n".join([_SESSION, *_fixes(fixes), *_load(load)]).rstrip() + "\n"


def _fixes(record: Record) -> list[str]:
    rows = record.data["rows"]
    closed = sum(r["state"] == "closed" for r in rows)
    return [
        "## Real fixes",
        "",
        f"{_made_by(record)} {record.data['old']} to {record.data['new']}; {len(rows)} fixes, of which {closed} "
        "change the outcome of a trigger in the same backend (for the start packet: under the same postmaster). "
        "*Make* is with the tree prepared.",
        "",
        *table(postgresql_fixes.COLUMNS, [postgresql_fixes.cells(r) for r in rows]),
        "",
        *(f"- {r['fix']}: {r['hole']}." for r in rows),
        "",
    ]


def _load(record: Record) -> list[str]:
    data = record.data
    return [
        "## Under load",
        "",
        f"{_made_by(record)} {data['clients']} connections of pgbench (TPC-B, scale {data['scale']}, {data['rate']} "
        f"transactions a second at random moments; latency counts from that moment), {data['rounds']} rounds of: "
        "apply one fix in the whole cluster, replace it by several, revert. Load and commands share the machine's "
        "cores.",
        "",
        *table(postgresql.COLUMNS, postgresql.rows(data)),
        "",
        "![Latency over time](postgresql.svg)",
        "",
        *table(("what", "times", "seconds p50", "processes", "pause p50, µs", "p99", "max"), postgresql.stops(data)),
        "",
        (
            f"{data['transactions']:,} transactions. Failed transactions, lost connections, processes left out: "
            f"{'; '.join(data['faults']) or 'none'}."
        ),
        "",
    ]


def _made_by(record: Record) -> str:
    m = record.machine
    return (
        f"`{record.command}` on {record.started} (Linux {m.kernel}, {m.cores} cores, load average at the start "
        f"{m.load:.1f})."
    )


def plot(data: Mapping[str, Any]) -> str:
    """Latency of each second on a logarithmic scale, the phases as bands, as SVG."""
    timeline = data["timeline"]
    span = float(max(t[0] for t in timeline) + 1)
    decades = 4  # 1 ms to 10 s

    def x(second: float) -> float:
        return _LEFT + (_WIDTH - _LEFT - 10) * max(0.0, min(second, span)) / span

    def y(ms: float) -> float:
        return _HEIGHT - _BOTTOM - (_HEIGHT - _BOTTOM - 20) * min(max(math.log10(max(ms, 1.0)), 0), decades) / decades

    parts = [
        (
            f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {_WIDTH} {_HEIGHT}" font-family="sans-serif" '
            'font-size="11">'
        )
    ]
    parts.append(f'<rect width="{_WIDTH}" height="{_HEIGHT}" fill="white"/>')
    for n, (name, (begin, end)) in enumerate(postgresql.in_time(data["phases"])):
        shade = "#f3f3f3" if n % 2 else "#e4edf5"
        parts.append(
            f'<rect x="{x(begin):.1f}" y="20" width="{x(end) - x(begin):.1f}" height="{_HEIGHT - _BOTTOM - 20}" '
            f'fill="{shade}"/>'
        )
        parts.append(f'<text x="{x(begin) + 3:.1f}" y="32" fill="#555">{name}</text>')
    for power in range(decades + 1):
        at = y(10**power)
        parts.append(f'<line x1="{_LEFT}" x2="{_WIDTH - 10}" y1="{at:.1f}" y2="{at:.1f}" stroke="#ccc"/>')
        parts.append(f'<text x="{_LEFT - 5}" y="{at + 4:.1f}" text-anchor="end">{10**power:g} ms</text>')
    for index, (name, colour) in enumerate(_COLOURS.items(), 1):
        points = " ".join(f"{x(t[0] + 0.5):.1f},{y(t[index]):.1f}" for t in timeline)
        parts.append(f'<polyline points="{points}" fill="none" stroke="{colour}" stroke-width="1.3"/>')
        parts.append(f'<text x="{_LEFT + 70 * index}" y="{_HEIGHT - 8}" fill="{colour}">{name}</text>')
    parts.append(f'<text x="{_WIDTH - 10}" y="{_HEIGHT - 8}" text-anchor="end">{span:.0f} s</text></svg>')
    return "\n".join(parts) + "\n"


if __name__ == "__main__":
    sys.exit(main())
