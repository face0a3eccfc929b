"""A page from the raw numbers of `bench/fleet_scale`."""

from __future__ import annotations

import statistics
from collections.abc import Mapping, Sequence
from typing import Any

from markdown_table import table

COLUMNS = (
    "database", "hosts", "check-ins/s", "served", "failed", "p50, ms", "p99, ms", "server's core", "memory, MB",
    "database, MB",
)  # fmt: skip
PAGES = ("database", "hosts", "overview, ms", "hole, ms", "holes, ms", "hosts, ms", "deadlines, ms")
_NAMES = {"sqlite": "SQLite", "postgresql": "PostgreSQL", "two": "PostgreSQL, two servers"}
_GOAL = 0.2

_TEXT = """\
- *check-ins/s* is a host's check-in each minute, times the hosts. Each is a connection of its own with a signed
  message, sent at an even pace whether or not the one before was answered. TLS is not in it: the server listens as
  behind a server that speaks https.
- *p50* and *p99* count from the moment at which a host was to begin. Each host has checked in once before with this
  server process.
- *server's core* is the share of one core that the server's processes had, without PostgreSQL's, which run on the same
  core.
- *memory* is the most that a server process had resident; more than 1 GiB of data is refused to it (`prlimit --data`).
- *database* is its size after a simulated month, in which each host has had ten holes, of which it closed five.
- Times of pages are the median of seven looks, the slowest in brackets, without other load. What deadlines are made
  from is counted again after at most a minute; the first look waits for that count.
"""


def rows(data: Mapping[str, Any]) -> list[list[str]]:
    """A line for each run."""
    return [
        [
            _NAMES[r["database"]],
            f"{r['hosts']:,}",
            f"{r['hosts'] / 60:,.0f}",
            f"{r['again']['sent'] - r['again']['failed']:,}",
            f"{r['again']['failed']:,}",
            f"{r['again']['p50_us'] / 1000:.1f}",
            f"{r['again']['p99_us'] / 1000:.1f}",
            f"{100 * r['again']['cpu_share']:.0f} %",
            f"{r['memory_bytes'] / 1e6:.0f}",
            f"{r['bytes'] / 1e6:,.0f}",
        ]
        for r in data["runs"]
    ]


def pages(data: Mapping[str, Any]) -> list[list[str]]:
    """A line for each run."""
    return [
        [_NAMES[r["database"]], f"{r['hosts']:,}", *(_page(times) for times in r["pages"].values())]
        for r in data["runs"]
    ]


def _page(times: Sequence[float]) -> str:
    return f"{1000 * statistics.median(times):.0f} ({1000 * max(times):.0f})"


def document(record: Mapping[str, Any]) -> str:
    """The whole page."""
    data, machine = record["data"], record["machine"]
    largest = max(r["hosts"] for r in data["runs"])
    slow = [
        f"{_NAMES[r['database']]} {name} {1000 * statistics.median(r['pages'][name]):.0f} ms"
        for r in data["runs"]
        for name in ("overview", "hole")
        if r["hosts"] == largest and statistics.median(r["pages"][name]) > _GOAL
    ]
    lost = [f"{_NAMES[r['database']]}, {r['hosts']:,} hosts" for r in data["runs"] if r["again"]["failed"]]
    lines = [
        "# A fleet's server on one core",
        "",
        f"Written by `{record['command']}` on {record['started']} (Linux {machine['kernel']}, {machine['cores']} "
        f"cores, load {machine['load']} at the start). Not edited by hand; raw numbers in "
        "bench/results/fleet_scale.json.",
        "",
        f"The server has one core and 1 GiB; hosts check in from the other core, each once a minute. {data['holes']:,} "
        f"holes. Each lap lasts {data['lap_seconds']:.0f} s.",
        "",
        f"- Goal {'met' if not lost else 'not met'}: no check-in fails{' (' + '; '.join(lost) + ')' if lost else ''}.",
        f"- Goal {'met' if not slow else 'not met'}: overview and the page of a hole in {1000 * _GOAL:.0f} ms at "
        f"{largest:,} hosts{' (' + '; '.join(slow) + ')' if slow else ''}.",
        "",
        "## Check-ins",
        "",
        *table(COLUMNS, rows(data)),
        "",
        "## Pages",
        "",
        *table(PAGES, pages(data)),
        "",
        _TEXT,
    ]
    return "\n".join(lines).rstrip() + "\n"
