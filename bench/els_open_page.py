"""docs/results/els-open.md from the raw numbers of `bench/els_open`."""

from __future__ import annotations

import textwrap
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from markdown_table import table

COLUMNS = ("state", "packages", "fixes")

_TEXT = """\
- A fix is a CVE that a patch of the newer release's series claims, and that the older release names neither in its
  changelog nor in its series. What came with a new upstream version is not among them.
- *fixed in a package*: built in the older release's clean room, compared with a build without the fix, and published to
  a signed apt repository. *live* tells what came of the live patch for the same fix.
- *waiting for a person*: built, and something needs a look. *open*: carried, and no package was built with it.
- *handed over*: a person has to carry it. *not affected, not proved*: the older release lacks the files or names
  that the fix is about.
- Where the newest version of a package does not arrive from the archive, an older one was taken; its fixes are never
  published by themselves.
"""

_HOSTS = """\
A clean chroot of the older release has the versions before, and a process that runs each patched binary. The live
patches were applied to these processes, then apt installed the packages from the signed repository, over the loopback
interface (`bench/els_hosts`). No process was restarted. What is graded review was published by a person's word.
"""


def _shown(rows: Sequence[Mapping[str, Any]]) -> str:
    """How many fixes a host got both ways, and for how many of them the package's own tests ran."""
    both = [r for r in rows if r["installed"] and any(p["afterwards"] == "applied" for p in r["live"])]
    cves = [[c for c in r["cves"] if any(c in p["cves"] for p in r["live"])] for r in both]
    tested = [c for r, own in zip(both, cves, strict=True) if r["outcome"] in ("passed", "as before") for c in own]
    return (
        f"Fixes that were installed by apt, and live in a process that ran the old binary: {sum(map(len, cves))}, in "
        f"{len(both)} packages. Of {len(tested)} of them the package's own tests ran with the build, and said what "
        "they say without the fixes; the other packages run none when they are built."
    )


def _on_host(row: Mapping[str, Any]) -> list[str]:
    installed = ", ".join(f"{name} {version}" for name, version in row["installed"].items())
    live = [f"{p['binary'].rpartition('/')[2]}: {p['outcome']}" for p in row["live"]]
    then = sorted({p["afterwards"] for p in row["live"]})
    tests = f"{row['tests']}"
    return [
        row["package"],
        tests,
        row["grade"],
        installed or "-",
        "; ".join(live) or "none made",
        ", ".join(then) or "-",
    ]


def holes(data: Mapping[str, Any]) -> Iterator[tuple[str, Mapping[str, Any]]]:
    """Each fix that is missing, with the name of its package: as it stands after what was done, if anything was."""
    for name, row in data["packages"].items():
        for hole in data["done"].get(name, row["fixes"]):
            yield name, hole


def counts(data: Mapping[str, Any]) -> list[list[str]]:
    """A line for each state, the most frequent first."""
    found = Counter(hole["state"] for _, hole in holes(data))
    return [
        [state, str(len({n for n, hole in holes(data) if hole["state"] == state})), str(number)]
        for state, number in found.most_common()
    ]


def document(record: Mapping[str, Any]) -> str:
    """The page."""
    data = record["data"]
    rows = list(holes(data))
    missing = [n for n, row in data["packages"].items() if row.get("missing")]
    lacking = {n for n, _ in rows}
    published = [(n, h) for n, h in rows if h["state"] == "fixed in a package"]
    rest = [(n, h) for n, h in rows if h["state"] != "fixed in a package"]
    return "\n".join(
        [
            f"# What {data['old']} lacks, and where it stands",
            "",
            f"Measured {record['started']} by `{record['command']}`, from {data['new']} to {data['old']}.",
            f"Packages looked at: {len(data['packages'])} of {data['listed']}, whose source does not "
            f"arrive: {len(missing)}, that lack a fix: {len(lacking)}.",
            "",
            *table(COLUMNS, counts(data)),
            "",
            _TEXT,
            "## Published",
            "",
            *_list(published, ("package", "CVE", "version", "live"), lambda h: [h["made"], h["live"] or "-"]),
            "",
            "## On a host",
            "",
            _HOSTS,
            *textwrap.wrap(_shown(data["hosts"]), 118),
            "",
            *table(
                ("package", "tests", "grade", "installed by apt", "live patches", "after apt"),
                [_on_host(row) for row in data["hosts"]],
            ),
            "",
            "## The rest",
            "",
            *_list(rest, ("package", "CVE", "state", "why"), lambda h: [h["state"], _why(h["reasons"])]),
            "",
        ]
    )


def _why(reasons: Sequence[str]) -> str:
    more = f" (and {len(reasons) - 1} more)" if len(reasons) > 1 else ""
    return (reasons[0][:160] + more) if reasons else "-"


def _list(rows: Sequence[tuple[str, Mapping[str, Any]]], columns: Sequence[str], rest: Any) -> list[str]:
    lines = [[name, " ".join(hole["cves"]) or ", ".join(hole["patches"]), *rest(hole)] for name, hole in rows]
    return table(columns, lines) if lines else ["None."]
