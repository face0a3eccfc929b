"""A page from the raw numbers of `bench/fleet_scale`."""

from __future__ import annotations

import statistics
from collections.abc import Mapping, Sequence
from typing import Any

from markdown_table import table

COLUMNS = (
    "database", "hosts", "check-ins/s", "answered/s", "sent", "served", "failed", "p50, ms", "p99, ms",
    "server's share of the core", "others' share",
)  # fmt: skip
MOST = (
    "database", "hosts", "check-ins/s", "failed", "p50, ms", "server's share of the core", "others' share",
    "a whole core, check-ins/s",
)  # fmt: skip
ROOM = ("database", "hosts", "server, MB", "all in the group, MB", "database, MB", "first overview, s")
PAGES = ("database", "hosts", "overview, ms", "hole, ms", "holes, ms", "hosts, ms", "deadlines, ms")
_NAMES = {"sqlite": "SQLite", "postgresql": "PostgreSQL", "two": "PostgreSQL, two servers"}
_GOAL = 0.2
_PACE = 0.95

_CHECK_INS = """\
*check-ins/s* is one check-in of each host a minute. Each is a connection of its own with a signed message that says
nothing new. They are sent at an even pace, whether or not those before were answered, and one that is not answered
within 30 s has failed. *p50* and *p99* count from the moment at which the host was to begin. Each host has checked in
once before with this server. TLS is not in it: the server listens as behind a server that speaks https. *Others'
share* is what else ran on that core, with PostgreSQL's own processes.
"""
_MOST = """\
The same check-ins, always 32 at a time and the next as soon as one is answered: the most that the server gave here.
*A whole core* is computed from that and its share; it is what a core without others would give at best.
"""
_ROOM = """\
*server* is the most that a server process had resident. *All in the group* is the most that servers and PostgreSQL
had together, with their page cache; the kernel refuses it more than 1,074 MB, and none of the database is cached at
the start. *database* is the size after a simulated month, in which each host has had ten holes, of which it closed
five. *First overview* is the time from the server's start until somebody who has logged in sees it: what is open is
counted once then, and after that only where something changes.
"""
_PAGES = """\
The median of seven looks, the slowest in brackets, without other load by hosts.
"""


def rows(data: Mapping[str, Any]) -> list[list[str]]:
    """A line for each run."""
    return [
        [
            *_run(r),
            f"{r['hosts'] / 60:,.0f}",
            f"{_answered(r):,.0f}",
            f"{r['again']['sent']:,}",
            f"{r['again']['sent'] - r['again']['failed']:,}",
            f"{r['again']['failed']:,}",
            f"{r['again']['p50_us'] / 1000:,.1f}",
            f"{r['again']['p99_us'] / 1000:,.1f}",
            *_shares(r["again"]),
        ]
        for r in data["runs"]
    ]


def most(data: Mapping[str, Any]) -> list[list[str]]:
    """A line for each run."""
    return [
        [
            *_run(r),
            f"{r['most']['sent'] / r['most']['took_seconds']:,.0f}",
            f"{r['most']['failed']:,}",
            f"{r['most']['p50_us'] / 1000:,.1f}",
            *_shares(r["most"]),
            f"{r['most']['sent'] / r['most']['took_seconds'] / r['most']['cpu_share']:,.0f}",
        ]
        for r in data["runs"]
    ]


def room(data: Mapping[str, Any]) -> list[list[str]]:
    """A line for each run."""
    return [
        [
            *_run(r),
            f"{r['memory_bytes'] / 1e6:,.0f}",
            f"{r['group_bytes'] / 1e6:,.0f}",
            f"{r['bytes'] / 1e6:,.0f}",
            f"{r['first_count_seconds']:.1f}",
        ]
        for r in data["runs"]
    ]


def _answered(run: Mapping[str, Any]) -> float:
    """How many were served in a second."""
    lap = run["again"]
    return float((lap["sent"] - lap["failed"]) / lap["took_seconds"])


def _run(row: Mapping[str, Any]) -> tuple[str, str]:
    return _NAMES[row["database"]], f"{row['hosts']:,}"


def _shares(lap: Mapping[str, Any]) -> tuple[str, str]:
    others = max(lap["core_share"] - lap["cpu_share"], 0.0)
    return f"{100 * lap['cpu_share']:.0f} %", f"{100 * others:.0f} %"


def pages(data: Mapping[str, Any]) -> list[list[str]]:
    """A line for each run."""
    return [[*_run(r), *(_page(times) for times in r["pages"].values())] for r in data["runs"]]


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
    lost = [
        f"{_NAMES[r['database']]}, {r['hosts']:,} hosts: {r['again']['failed']:,} of {r['again']['sent']:,}"
        for r in data["runs"]
        if r["again"]["failed"]
    ]
    behind = [
        f"{_NAMES[r['database']]}, {r['hosts']:,} hosts: {_answered(r):,.0f} of {r['hosts'] / 60:,.0f} a second"
        for r in data["runs"]
        if _answered(r) < _PACE * r["hosts"] / 60
    ]
    lines = [
        "# A fleet's server on one core",
        "",
        f"Written by `{record['command']}` on {record['started']} (Linux {machine['kernel']}, {machine['cores']} "
        f"cores, load {machine['load']} at the start). Not edited by hand; raw numbers in "
        "bench/results/fleet_scale.json.",
        "",
        "The server, and PostgreSQL with it, has one core (`taskset`) and 1 GiB (a control group for memory). Hosts "
        f"check in from the other core. There are {data['holes']:,} holes and no rollout. Of large fleets a part "
        "of the hosts checks in, at the pace of all.",
        "",
        *([f"Beside it ran {data['beside']}.", ""] if data.get("beside") else []),
        f"- Goal {'met' if not lost else 'not met'}: no check-in fails{' (' + '; '.join(lost) + ')' if lost else ''}.",
        f"- Goal {'met' if not behind else 'not met'}: the server keeps pace with a check-in of each host a minute"
        f"{' (' + '; '.join(behind) + ')' if behind else ''}.",
        f"- Goal {'met' if not slow else 'not met'}: overview and the page of a hole in {1000 * _GOAL:.0f} ms at "
        f"{largest:,} hosts{' (' + '; '.join(slow) + ')' if slow else ''}.",
        "",
        "## Check-ins, one of each host a minute",
        "",
        _CHECK_INS,
        *table(COLUMNS, rows(data)),
        "",
        "## Check-ins, as many as it can",
        "",
        _MOST,
        *table(MOST, most(data)),
        "",
        "## Room",
        "",
        _ROOM,
        *table(ROOM, room(data)),
        "",
        "## Pages",
        "",
        _PAGES,
        *table(PAGES, pages(data)),
    ]
    return "\n".join(lines).rstrip() + "\n"
