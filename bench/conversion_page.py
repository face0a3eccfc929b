"""docs/results/conversion.md from the raw numbers of `bench/conversion`."""

from __future__ import annotations

import re
import statistics
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from markdown_table import table

_TEXT = """\
A *fix* is a patch of the newer version's series, or a single change of what differs beside these: hunks that change one
function or share a name that comes or goes. *Live* means that all of it is in the patches: *safe* may be applied
without a person, *review* names what one should look at first (a lock, a reference or a wait that comes or goes). *No
code* means that it changes no code of a shipped binary. *On disk only* means that it changes code and that some of that
cannot be patched live. *Untried* means that the package could not be made ready, or that its update took longer than
the limit. A CVE counts as closed live when every fix for it is. One that the changelog names and no fix claims counts
as closed when all fixes are that claim none; it is *unknown* where there is no such fix.
"""
_TOO_LONG = re.compile(r"took longer than (\d+) minutes")
_COLUMNS = (
    "package",
    "release",
    "update",
    "made ready by",
    "fixes",
    "safe",
    "review",
    "no code",
    "on disk only",
    "untried",
    "CVEs",
    "closed live",
    "s",
)

_KERNEL_TEXT = """\
Passes of `suture watch --once --package linux=VERSION`, put here by `bench/kernel_conversion`; raw numbers in
bench/results/kernel_conversion.json. A *change* is hunks that change one function or share a name that comes or goes.
*Live* means that it is in the module, and that a person need not look at it first. A CVE is closed live when every
change of the files that the title of its commit means is live (docs/how-to/watch.md).
"""
_KERNEL_COLUMNS = (
    "update", "flavour", "changes", "live", "no code", "on disk only", "untried", "functions", "reaches",
    "CVEs", "closed live", "need none", "on disk only", "not tried", "unknown", "s",
)  # fmt: skip
_REBUILD_TEXT = """\
Seconds from the update to patches that were tried, and seconds to build the new version whole, in the same run. Both
begin with the release's base room: the build dependencies are installed in either. *Warm* is the conversion once more.
"""
_REBUILD_COLUMNS = (
    "package", "release", "version", "cold", "warm", "dependencies", "rebuild with tests", "rebuild without",
    "cold / rebuild without",
)  # fmt: skip
_CLOSINGS = ("closed live", "needs no live patch", "closed on disk only", "not tried", "unknown")


def document(
    record: Mapping[str, Any], kernel: Mapping[str, Any] | None = None, rebuild: Mapping[str, Any] | None = None
) -> str:
    """The whole page, with that of the kernel and full rebuilds where they were measured."""
    data, machine = record["data"], record["machine"]
    rows = sorted(data["rows"], key=lambda r: (r["source"], r["release"], r["old"]))
    gone = data.get("gone", [])
    fixes = [f for r in rows for f in r["fixes"]]
    cves = [c for r in rows for c in r["cves"]]
    counted = [c for c in cves if c["closing"] != "needs no live patch"]
    live = [c for c in counted if c["closing"] == "closed live"]
    ended = [c for c in counted if c["closing"] != "not tried"]
    waiting = data["waiting"]
    lines = [
        "# Updates of the archive, converted",
        "",
        f"Written by `{record['command']}` on {record['started']} ({machine['cores']} cores, load {machine['load']} "
        "at the start). Not edited by hand; raw numbers in bench/results/conversion.json.",
        "",
        f"**{len(live)} of {len(counted)} CVE fixes ({_share(live, counted)}) were closed live without a human hand**, "
        f"in {len(rows)} updates of {len({r['source'] for r in rows})} source packages. "
        f"{len(cves) - len(counted)} more CVEs need no live patch: their fixes change no code of a shipped binary.",
        "",
        f"Of the {len(counted)}, {len(counted) - len(ended)} were not tried: their package could not be made ready, or "
        f"the update took longer than the limit{_limit(data)}. Of those that were tried, {_share(live, ended)} were "
        "closed live.",
        "",
        *(
            [
                (
                    f"**Not finished**: {len(waiting)} updates that arrive are not converted yet (`bench/conversion "
                    "--resume` goes on)."
                ),
                "",
            ]
            if waiting
            else []
        ),
        *(
            [
                "Left out because the archive has no binary of an old version: "
                + ", ".join(f"{name} ({release})" for name, release in gone)
                + ".",
                "",
            ]
            if gone
            else []
        ),
        *([f"Left out by hand: {', '.join(data['left_out'])}.", ""] if data.get("left_out") else []),
        "Every update is taken that arrives in the three releases with their security archives: from each version "
        "that the indexes list and whose source and binaries the archive still has to the next one. The order is that "
        "of the SHA-256 of the packages' names. No package was given a recipe for the purpose.",
        "",
        _TEXT,
        *table(("what came of it", "fixes", "CVEs"), list(_outcomes(fixes, cves))),
        "",
        "## What stands between that and 95%",
        "",
        "Each fix that is not live counts once, under its first reason; names are left out.",
        "",
        *table(("reason", "fixes", "packages"), list(_reasons(rows))),
        "",
        "## Each update",
        "",
        *table(_COLUMNS, [_row(r) for r in rows]),
        "",
        _times(rows),
        "",
        *(_rebuild(rebuild) if rebuild else []),
        *(_kernel(kernel["data"]["rows"]) if kernel else []),
    ]
    return "\n".join(lines).rstrip() + "\n"


def _rebuild(record: Mapping[str, Any]) -> Iterable[str]:
    """Seconds of conversions beside those of full rebuilds."""
    machine, rows = record["machine"], record["data"]["rows"]
    yield from ("## Beside a full rebuild", "")
    yield f"`{record['command']}` on {record['started']} ({machine['cores']} cores, load {machine['load']} before it)."
    yield from ("", *_REBUILD_TEXT.splitlines(), "")
    yield from table(_REBUILD_COLUMNS, [_rebuild_row(r) for r in rows])
    cold, warm = [r["cold"] for r in rows], [r["warm"] for r in rows if r["warm"]]
    yield ""
    yield f"Median: {statistics.median(cold):.0f} s cold" + (
        f", {statistics.median(warm):.0f} s warm." if warm else "."
    )
    yield ""


def _rebuild_row(row: Mapping[str, Any]) -> Sequence[str]:
    rebuild = row["rebuild"]
    dependencies, built = rebuild["dependencies"], [rebuild[name] for name in ("with tests", "without tests")]
    totals = ["fails" if s is None else f"{dependencies + s:.0f}" for s in built]
    return (
        row["source"],
        row["release"],
        row["new"],
        f"{row['cold']:.0f}",
        f"{row['warm']:.0f}" if row["warm"] else "-",
        f"{dependencies:.0f}",
        *totals,
        "-" if built[1] is None else f"{row['cold'] / (dependencies + built[1]):.2f}",
    )


def _kernel(rows: Sequence[Mapping[str, Any]]) -> Iterable[str]:
    """What came of updates of the kernel: a module each."""
    yield from ("## The kernel", "", *_KERNEL_TEXT.splitlines(), "")
    yield from table(_KERNEL_COLUMNS, [_kernel_row(r) for r in rows])
    for row in rows:
        untried, reasons = row["untried"], Counter(row["reasons"]).most_common(6)
        yield from ("", f"{row['old']} to {row['new']}, {row['flavour']}:", "")
        yield f"- Trial of the module: {row['trial'] or 'none'}"
        yield from (f"- {count} changes were not tried: {why}" for why, count in sorted(untried.items()))
        yield from (f"- {count} on disk only: {why}" for why, count in reasons)


def _kernel_row(row: Mapping[str, Any]) -> Sequence[str]:
    outcomes, cves = row["fixes"], row["cves"]
    return (
        f"{row['old']} → {row['new']}",
        row["flavour"],
        str(sum(outcomes.values())),
        *(str(outcomes.get(o, 0)) for o in ("live", "no code", "on disk only", "untried")),
        str(row["functions"]),
        row["effective"] or "-",
        str(sum(cves.values())),
        *(str(cves.get(c, 0)) for c in _CLOSINGS),
        f"{row['total']:.0f}",
    )


def _share(some: Sequence[object], whole: Sequence[object]) -> str:
    return f"{100 * len(some) / len(whole):.0f}%" if whole else "none"


def _limit(data: Mapping[str, Any]) -> str:
    """The limits under which updates were given up; each run with --resume has its own."""
    minutes = {int(m[1]) for r in data["rows"] if (m := _TOO_LONG.match(r["problem"]))}
    if not minutes:
        return f" of {data['limit'] / 60:.0f} minutes" if data.get("limit") else ""
    least, most = min(minutes), max(minutes)
    return f" of {least} to {most} minutes" if least < most else f" of {most} minutes"


def _outcomes(fixes: Sequence[Mapping[str, Any]], cves: Sequence[Mapping[str, Any]]) -> Iterable[Sequence[str]]:
    of_fixes, of_cves = Counter(f["outcome"] for f in fixes), Counter(c["closing"] for c in cves)
    names = {
        "live": "closed live",
        "no code": "needs no live patch",
        "on disk only": "closed on disk only",
        "untried": "not tried",
        "": "unknown",
    }
    for fix, cve in names.items():
        yield f"{fix} / {cve}" if fix else cve, str(of_fixes[fix]), str(of_cves[cve])


def _reasons(rows: Sequence[Mapping[str, Any]]) -> Iterable[Sequence[str]]:
    counts: Counter[str] = Counter()
    packages: dict[str, set[str]] = {}
    for row in rows:
        for fix in row["fixes"]:
            if fix["outcome"] in ("on disk only", "untried"):
                kind = general(fix["reasons"][0] if fix["reasons"] else "no reason was given")
                counts[kind] += 1
                packages.setdefault(kind, set()).add(row["source"])
        if row["problem"] and not row["fixes"]:
            kind = general(row["problem"])
            counts[kind] += 1
            packages.setdefault(kind, set()).add(row["source"])
    for kind, number in counts.most_common():
        names = sorted(packages[kind])
        yield kind, str(number), ", ".join(names[:6]) + (f" and {len(names) - 6} more" if len(names) > 6 else "")


def general(reason: str) -> str:
    """A reason without the names, places and numbers in it."""
    text = re.sub(r"\([^()]*\)", "", reason)
    text = re.sub(r"\S*[/_.]\S*|\S*\d\S*", "…", text)
    text = re.sub(r"(?:… ?[,:;]? ?)+", "… ", text)
    return re.sub(r"\s+", " ", text).strip(" ,:;")[:160].replace("|", "/") or "…"


def _row(row: Mapping[str, Any]) -> Sequence[str]:
    outcomes = Counter(f["outcome"] for f in row["fixes"])
    counted = [c for c in row["cves"] if c["closing"] != "needs no live patch"]
    live = sum(c["closing"] == "closed live" for c in counted)
    way = row["way"] or f"not: {row['problem'][:80]}".replace("|", "/").replace("\n", " ")
    return (
        row["source"],
        row["release"],
        f"{row['old']} → {row['new']}",
        way,
        str(len(row["fixes"])),
        str(sum(f["outcome"] == "live" and not f.get("review") for f in row["fixes"])),
        str(sum(f["outcome"] == "live" and bool(f.get("review")) for f in row["fixes"])),
        *(str(outcomes[o]) for o in ("no code", "on disk only", "untried")),
        str(len(counted)),
        str(live),
        f"{row['total']:.0f}",
    )


def _times(rows: Sequence[Mapping[str, Any]]) -> str:
    """How long it took from the update to patches that were tried."""
    made = [r for r in rows if r["patches"]]
    kinds = (
        ("cold (room, tree and all that is compiled made for it)", [r["total"] for r in made if r.get("cold")]),
        ("warm (the same again)", [r["warm"] for r in made if r.get("warm")]),
        ("as the caches happened to be", [r["total"] for r in made if not r.get("cold")]),
    )
    told = [
        f"{name}: median {statistics.median(seconds):.0f} s over {len(seconds)} update{'s' * (len(seconds) != 1)}, "
        f"{min(seconds):.0f} to {max(seconds):.0f} s"
        for name, seconds in kinds
        if seconds
    ]
    return f"From the update to patches that were tried, {'; '.join(told)}." if told else ""
