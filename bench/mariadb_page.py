"""docs/results/mariadb.md and its plot from the raw numbers of `bench/mariadb`."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

from markdown_table import table
from summary import Spread

_WIDTH, _HEIGHT, _LEFT, _BOTTOM, _TOP = 900, 340, 60, 40, 24
_LINES = (("p50", "#2a6"), ("p99", "#37b"), ("most", "#c43"))


def rows(data: Mapping[str, Any]) -> list[tuple[str, str]]:
    """What happened, in a few lines."""
    load = data["load"]
    pauses = [p for c in data["changes"] for p in c["pauses_us"]]
    spread = Spread.of(pauses)
    seen = ", ".join(f"version {v}: {n:,}" for v, n in sorted(load["seen"].items()))
    return [
        ("connections", str(load["connections"])),
        ("queries answered", f"{load['queries']:,}"),
        ("queries failed, connections lost", str(len(load["failed"]))),
        ("wrong answers", str(len(load["wrong"]))),
        ("rows written, all there at the end with the right checksum", f"{load['rows_written']:,}"),
        ("answers that tell the version", seen),
        ("rounds of apply, replace, revert", str(data["rounds"])),
        ("stops", f"{len(pauses)} (p50 {spread.p50:.0f} us, p99 {spread.p99:.0f} us, max {spread.most:.0f} us)"),
        ("threads of the server at a stop", str(max(c["threads"] for c in data["changes"]))),
    ]


def document(record: Mapping[str, Any]) -> str:
    """The whole page."""
    data, machine = record["data"], record["machine"]
    lines = [
        "# MariaDB and MySQL",
        "",
        f"Written by `{record['command']}` on {record['started']} (Linux {machine['kernel']}, {machine['cores']} "
        f"cores shared by server, client and whatever else ran: load {machine['load']} at the start). Not edited by "
        "hand; the raw numbers are in bench/results/mariadb.json.",
        "",
        _SESSION,
        "## Under load",
        "",
        f"mariadb-server-core {data['server']} as the archive ships it, {data['load']['connections']} connections of "
        f"{data['client']}: rows with checksums are written and read, money is moved within transactions, and every "
        "answer is compared with what the client knows.",
        (
            "The patches replace functions of the SQL layer and of InnoDB that nearly every query runs through. They "
            "were written for the"
        ),
        "purpose (bench/fixes/mariadb-measure-*.patch): one makes visible which version answers.",
        "",
        *table(("what", "value"), rows(data)),
        "",
        (
            "The first apply and the first replace stop once more, to make the unwind tables known. A stop lasts as "
            "long as it takes to get"
        ),
        (
            "hold of all threads, which depends on what else runs; docs/results/benchmarks.md has pauses on a quiet "
            "machine."
        ),
        "",
        "Latency of queries in microseconds:",
        "",
        *table(("phase", "queries", "p50", "p99", "max"), [_phase(p) for p in data["phases"]]),
        "",
        "![latency over time](mariadb-latency.svg)",
        "",
        "## Making",
        "",
        *table(
            ("fix", "functions", "groups", "seconds: prepare, compile, match, make"),
            [_made(m) for m in data["made"]],
        ),
        "",
        _REST,
    ]
    return "\n".join(lines).rstrip() + "\n"


def _phase(one: Mapping[str, Any]) -> tuple[str, ...]:
    latency = one["latency_us"]
    cells = [f"{latency[k]:,.0f}" for k in ("p50", "p99", "most")] if latency else ["-"] * 3
    return (one["name"], f"{one['queries']:,}", *cells)


def _made(one: Mapping[str, Any]) -> tuple[str, ...]:
    seconds = ", ".join(f"{one['seconds'].get(k, 0):.1f}" for k in ("prepare", "compile", "match", "make"))
    return one["fix"], str(len(one["functions"])), str(one["groups"]), seconds


def plot(data: Mapping[str, Any]) -> str:
    """Median, 99th percentile and largest latency over time, logarithmic; grey: the time of the rounds."""
    points = data["timeline"]
    end = max((p["at"] for p in points), default=1.0) or 1.0
    low, high = 2.0, max(3.0, math.log10(max((p["most"] for p in points), default=1000.0)))

    def x(at: float) -> float:
        return _LEFT + (_WIDTH - _LEFT - 10) * at / end

    def y(value: float) -> float:
        part = (math.log10(max(value, 10**low)) - low) / (high - low)
        return _HEIGHT - _BOTTOM - (_HEIGHT - _BOTTOM - _TOP) * part

    parts = [
        (
            f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {_WIDTH} {_HEIGHT}" font-family="sans-serif" '
            'font-size="12">'
        ),
        f'<rect width="{_WIDTH}" height="{_HEIGHT}" fill="white"/>',
    ]
    phases = data["phases"]
    for one in phases[1:2]:
        left, right = (x(one[k] - phases[0]["begin"]) for k in ("begin", "end"))
        parts.append(
            f'<rect x="{left:.1f}" y="{_TOP}" width="{right - left:.1f}" height="{_HEIGHT - _BOTTOM - _TOP}" '
            'fill="#eee"/>'
        )
    for power in range(math.ceil(low), math.floor(high) + 1):
        label = {2: "0.1 ms", 3: "1 ms", 4: "10 ms", 5: "100 ms", 6: "1 s", 7: "10 s"}.get(power, f"1e{power} us")
        at = y(10**power)
        parts.append(f'<line x1="{_LEFT}" x2="{_WIDTH - 10}" y1="{at:.1f}" y2="{at:.1f}" stroke="#ccc"/>')
        parts.append(f'<text x="{_LEFT - 6}" y="{at + 4:.1f}" text-anchor="end">{label}</text>')
    for number, (key, colour) in enumerate(_LINES):
        line = " ".join(f"{x(p['at']):.1f},{y(p[key]):.1f}" for p in points)
        parts.append(f'<polyline points="{line}" fill="none" stroke="{colour}"/>')
        name = "max" if key == "most" else key
        parts.append(f'<text x="{_LEFT + 70 * number}" y="16" fill="{colour}">{name}</text>')
    parts.append(f'<text x="{_WIDTH - 10}" y="16" text-anchor="end">grey: rounds of apply, replace, revert</text>')
    parts.append(f'<text x="{_WIDTH - 10}" y="{_HEIGHT - 12}" text-anchor="end">{end:.0f} s</text></svg>')
    return "\n".join(parts) + "\n"


_SESSION = """\
One process, many threads, C++. A session:

```
suture make --source mariadb=1:10.11.18-0+deb12u1 --fix hole.patch
suture apply mariadb-*.suture.o
suture status
suture revert ID
```

A fix switches in one stop or not at all. The fixes below have three functions each through which nearly every query
runs, and switch so under load. If `apply` ends with *busy* because some thread is always in one of many functions,
`suture make --apart REASON` makes a patch whose functions switch as they are free. Use it only where each function's
change stands alone (docs/explanation/applying.md, "Groups").

The recipe (src/suture/recipes/mariadb.toml) configures as debian/rules does and builds nothing but the generators of
headers; a fix costs the compilation of the files that it touches. Making the tree for the first time took 12 minutes on
two cores that ten other processes wanted too (configure 5, generators 4, recording 1, the rest packages); that is done
once per version. C++ code may throw, catch and clean up in replaced functions (docs/reference/patch-format.md, "The
finder").
"""

_REST = """\
## Which fixes

The archive lists mariadb 10.11.19 and 11.8.9 and mariadb-10.5 10.5.29, but their sources do not arrive from it; of the
sources that do (10.11.18, 10.5.23) no two belong to one series. So no fix between two versions of the archive could be
tried: those above were written for the purpose. A patch file that applies to the source of the running version is all
that is needed.

## A server of your own, MySQL

Upstream's MySQL and MariaDB come from one code base and are built in the same way, with CMake and g++. For a server
that was built from a tree which is still there (what of this has been tried is below):

```
cmake -S . -B build -DCMAKE_EXPORT_COMPILE_COMMANDS=ON && cmake --build build
suture make --tree . --binary build/runtime_output_directory/mysqld --fix hole.patch
```

The binary may be stripped. Compiler and flags must be those of the running server.

For a server out of upstream's own packages a recipe needs a source package that `apt-get source` can fetch and the
binary package; `[[binary]]` names package, file and link output. Packages that do not come from a Debian archive (rpm,
tar) have no source that Suture could fetch by itself: unpack them, take the tree of the same release, configure it with
the flags that the server reports, and use `--tree DIR --binary FILE`; the match says whether it is the same code, and
the build-id in the patch ties it to that binary.

| | tried |
|---|---|
| MariaDB 10.11.18 of the archive, amd64 | yes, this page |
| MariaDB 10.5 and 11.8 | no: see above |
| `--tree DIR --binary FILE`: a stripped C++ program of CMake, with exceptions | a small one by hand; no whole server |
| MySQL 8, deb or rpm | no: the archives hold no MySQL server |
| gdb through patched frames | yes (docs/explanation/applying.md) |
| perf through patched frames | by frame pointers, which mariadbd has: yes; by tables (`--call-graph dwarf`): no |
"""
