"""docs/results/whole-way.md from the raw numbers of `bench/whole_way`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from facts import Record
from markdown_table import table
from summary import Spread

_SESSION = """\
## A session to repeat

```
suture make --source openssl={old} --to {new} --apart "each function's change stands alone"
suture apply --accept-partial openssl-*-libcrypto.so.3.suture.o      # every process that has it loaded
suture apply --accept-partial openssl-*-libssl.so.3.suture.o
suture status
suture revert ID
```

`--accept-partial`: a part of the difference is refused (the last section), and a patch that does not hold all of its
fix goes in only when somebody says so. `--apart`: a fix is one group by default, which switches in one stop or not at
all, and all that changed between two versions is one fix when their series of patches do not tell the fixes apart. One
thread that waits in one of the functions would then keep all of them out. With `--apart` functions that call one
another or share changed data still switch together, all others as they are free. It is right where each function's
change stands alone, so read the difference first; `suture show` prints the reason that was given
(docs/explanation/applying.md, "Groups")."""


def document(record: Record) -> str:
    """The whole page."""
    data = record.data
    lines = [
        f"# The whole way: openssl {data['old']} to {data['new']}",
        "",
        f"Written by `{record.command}` on {record.started} (Linux {record.machine.kernel}, {record.machine.cores} "
        f"cores, load {record.machine.load} at the start). Not edited by hand; the raw numbers are in "
        "bench/results/whole_way.json.",
        "",
        (
            "Everything that changed between the two versions of the archive as one live patch per library. Between "
            "them the"
        ),
        "source was reformatted as a whole; only functions whose code differs once line numbers are left out count.",
        "",
        *_SESSION.format(old=data["old"], new=data["new"]).splitlines(),
        "",
        *_what_went_in(data),
        *_load(data["servers"]),
        *_idle(data["servers"], data["reading"]),
        *_refused(data["made"]["refused"]),
    ]
    return "\n".join(lines).rstrip() + "\n"


def _what_went_in(data: Mapping[str, Any]) -> list[str]:
    rows = []
    groups = {g["file"]: g for g in data["groups"]}
    for patch in data["made"]["patches"]:
        own = groups.get(patch["file"])
        same = data["verified"].get(patch["path"])
        rows.append(
            (
                patch["file"],
                patch["id"],
                str(len(patch["functions"])),
                str(len(own["groups"])) if own else "-",
                "all" if patch["complete"] else "a part",
                {True: "the same bytes", False: "DIFFERS", None: "not tried"}[same],
            )
        )
    named = sorted({c for p in data["made"]["patches"] for c in p["named_cves"]})
    closed = sorted({c for p in data["made"]["patches"] for c in p["cves"]})
    seconds = ", ".join(f"{name} {value:.0f}" for name, value in data["made"]["seconds"].items())
    lines = [
        "## What went in",
        "",
        *table(("binary", "patch", "functions replaced", "groups", "of the fix", "made again"), rows),
        "",
    ]
    lines += [f"Seconds to make them: {seconds}.", *([data["note"]] if "note" in data else []), ""]
    lines += [f"{len(named)} CVEs are named by what changed: {', '.join(named)}."]
    lines += [
        (
            f"The patches say that they close {', '.join(closed) if closed else 'none of them'}: a patch that lacks a "
            "part of a fix closes no CVE."
        )
    ]
    lines += [
        (
            "Here the whole difference is one fix, and a part of it is refused (below). Which of the CVEs the rest "
            "closes is for a"
        )
    ]
    lines += ["person to judge; docs/results/coverage.md tries them one by one.", ""]
    for own in data["groups"]:
        lines += [f"{own['file']}:", ""]
        lines += [f"- {', '.join(f'`{f}`' for f in names)}" for names in own["groups"].values()]
        lines += [""]
    return lines


def _load(servers: Sequence[Mapping[str, Any]]) -> list[str]:
    lines = ["## Under load", ""]
    for server in servers:
        whole = server["whole"]
        lines += [
            f"### {server['name']}",
            "",
            f"{server['processes']} process{'es' * (server['processes'] != 1)}, {server['clients']} client "
            "processes, TLS 1.3 and 1.2, new and resumed sessions, with and without a client certificate; every "
            "answer is compared.",
            f"{server['rounds']} rounds of: a patch of part of the files, replaced by the whole, reverted.",
            "",
            *table(
                (
                    "phase",
                    "seconds",
                    "handshakes",
                    "per second",
                    "resumed",
                    "answers",
                    "failed",
                    "slowest handshake, ms",
                ),
                [_phase(p) for p in [*server["phases"], {**whole, "seconds": 0.0}]],
            ),
            "",
            *table(
                ("what", "stops", "p50, µs", "p99, µs", "max, µs"),
                [(what, str(len(us)), *Spread.of(us).cells()) for what, us in server["pauses_us"].items()],
            ),
            "",
            f"Not as it should be: {'; '.join(server['faults']) or 'nothing'}.",
            "",
        ]
    return lines


def _phase(phase: Mapping[str, Any]) -> tuple[str, ...]:
    rate = f"{phase['handshakes'] / phase['seconds']:.0f}" if phase["seconds"] else ""
    seconds = f"{phase['seconds']:.1f}" if phase["seconds"] else ""
    counts = [str(phase[k]) for k in ("resumed", "requests", "failed")]
    return phase["name"], seconds, str(phase["handshakes"]), rate, *counts, f"{phase['slowest'] * 1000:.0f}"


def _idle(servers: Sequence[Mapping[str, Any]], reading: Sequence[Mapping[str, Any]]) -> list[str]:
    rows = []
    for server in servers:
        for row in server["idle"]:
            rows.append(_stood(f"{server['name']}, process {row['process'] + 1}", row))
    where = "openssl pkcs7, in the middle of its input"
    rows += [_stood(w, row) for w, row in zip((where, f"{where}; made without `--apart`"), reading, strict=True)]
    heads = ("where", "binary", "groups applied", "left out, and why", "then it goes on", "applied again afterwards")
    return [
        "## What waits, and what that holds back",
        "",
        (
            "A client has made its handshake and says nothing while the patches are applied: nginx waits in its own "
            "event loop,"
        ),
        (
            "s_server inside libcrypto under libssl. `openssl pkcs7` waits for input under a function that the patch "
            "replaces: that"
        ),
        (
            "function's group is left out, and no other. Made without `--apart`, all functions of the library are one "
            "group, which waits as a whole."
        ),
        "",
        *table(heads, rows),
        "",
    ]


def _stood(where: str, row: Mapping[str, Any]) -> tuple[str, ...]:
    busy = "; ".join(f"{name}: {why}" for name, why in row["busy"].items()) or "none"
    answer = "right answer" if row["answered"] else "NO RIGHT ANSWER"
    later = f"{row['later']} of {row['groups']}" if "later" in row else "it has ended"
    return where, row["file"], f"{row['applied']} of {row['groups']}", busy, answer, later


def _refused(refused: Sequence[Mapping[str, Any]]) -> list[str]:
    """One paragraph per reason, the most frequent first."""
    reasons: dict[str, list[Mapping[str, Any]]] = {}
    for row in refused:
        reasons.setdefault(row["reason"], []).append(row)
    lines = ["## What is refused", "", f"{len(refused)} functions, variables and files, by reason.", ""]
    for reason, rows in sorted(reasons.items(), key=lambda x: (-len(x[1]), x[0])):
        lines += [f"- **{reason}**: {', '.join(_where(r) for r in rows)}. *{rows[0]['remedy']}*"]
    return lines


def _where(row: Mapping[str, Any]) -> str:
    place = row["file"] + (f":{row['line']}" if row["line"] else "")
    return f"`{row['function']}` ({place})" if row["function"] else f"`{place}`"
