"""docs/results/restart.md from the raw numbers of `bench/restart`."""

from __future__ import annotations

import statistics
from collections.abc import Mapping
from typing import Any

from markdown_table import table

COLUMNS = (
    "service",
    "what is done",
    "takes, s",
    "nobody is answered for, ms: median",
    "most",
    "requests",
    "failed",
    "connections lost",
    "slowest answer, ms: median",
    "most",
)

_TEXT = """\
- *nothing*: the same clients, and nobody does anything: what the load and the machine do to them anyway.
- *suture apply*: the command from its start to its end, with the pause of each process in it. No connection is touched.
- *upgrade on the fly*: the newer library is in place; nginx gets USR2, starts a second master on the same sockets, and
  the first one gets QUIT, which ends kept connections between two requests. A plain reload (HUP) would not do: the
  master keeps the old library mapped, and its new workers are forks of it.
- *restart*: nginx gets QUIT, as Debian's unit does it, and is started anew with the newer library; PostgreSQL gets
  `pg_ctl restart --mode=fast`, from the same files. What systemd and dpkg themselves take comes on top.

A client asks at fixed moments. When its connection is gone it makes a new one at once and asks again; *failed* is a
request that had no answer then either. *Nobody is answered for* is the longest time without any answer to any client. A
restart costs more than this table shows where caches are warm, sessions hold state, or long transactions run: all of
that begins anew.
"""


def rows(data: Mapping[str, Any]) -> list[list[str]]:
    """One line for each service and way; medians over the rounds, sums of what failed."""
    found = []
    for service, facts in data["services"].items():
        for way, windows in facts["ways"].items():
            silent, slow = ([1000 * w[key] for w in windows] for key in ("silent", "slowest"))
            found.append(
                [
                    service,
                    way,
                    f"{statistics.median(w['seconds'] for w in windows):.2f}",
                    f"{statistics.median(silent):.0f}",
                    f"{max(silent):.0f}",
                    str(sum(w["requests"] for w in windows)),
                    str(sum(w["failed"] for w in windows)),
                    str(sum(w["lost"] for w in windows)),
                    f"{statistics.median(slow):.0f}",
                    f"{max(slow):.0f}",
                ]
            )
    return found


def document(record: Mapping[str, Any]) -> str:
    """The whole page."""
    data, machine = record["data"], record["machine"]
    lines = [
        "# A restart against a live patch",
        "",
        f"Written by `{record['command']}` on {record['started']} (Linux {machine['kernel']}, {machine['cores']} "
        f"cores shared by service and clients, load {machine['load']} at the start). Not edited by hand; raw numbers "
        "in bench/results/restart.json.",
        "",
        (
            f"{data['rounds']} rounds of all ways in turn, {data['clients']} clients with {data['rate']:.0f} "
            "requests a second each."
        ),
        "",
        *table(COLUMNS, rows(data)),
        "",
        _TEXT,
    ]
    return "\n".join(lines).rstrip() + "\n"
