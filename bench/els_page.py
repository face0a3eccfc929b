"""docs/results/els.md from the raw numbers of `bench/els`."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from markdown_table import table

COLUMNS = ("upstream version", "fixes", "same", "handed over", "different", "share same", "patch(1): same", "different")

_TEXT = """\
- A fix is a CVE for which both releases have patches. The older release's source stands as it was before its own
  patches; the newer release's patch is carried to it by `suture els backport`, as if the older one had none.
- *same*: the code of every file is what the older release's maintainers made of it. Blanks and comments do not count,
  nor do documents and tests.
- *handed over*: no patch was written, and a person was told why.
- *different*: a patch was written, and the code is not what the maintainers made. Each is below. Some are a choice that
  they made otherwise; nothing tells that by itself, so all of them count.
- *patch(1)* beside it: the newer release's patch with the default fuzz of two lines, and no check.
- Nothing is built here. A backport goes on to a build and to the package's tests before anyone gets it.
"""


def pairs(data: Mapping[str, Any]) -> Iterator[tuple[str, Mapping[str, Any], Mapping[str, Any]]]:
    """Each fix with the name of its package and what is known of that."""
    for name, row in data["packages"].items():
        for pair in row["pairs"]:
            yield name, row, pair


def counts(data: Mapping[str, Any]) -> list[list[str]]:
    """A line for the same upstream version, for different ones, and for all."""
    rows = list(pairs(data))
    return [
        _line("same", [p for _, row, p in rows if row["same_upstream"]]),
        _line("different", [p for _, row, p in rows if not row["same_upstream"]]),
        _line("all", [p for _, _, p in rows]),
    ]


def _line(name: str, found: Sequence[Mapping[str, Any]]) -> list[str]:
    outcome, plain = Counter(p["outcome"] for p in found), Counter(p["patch"] for p in found)
    share = f"{100 * outcome['same'] / len(found):.0f}%" if found else ""
    own = [str(outcome[x]) for x in ("same", "handed over", "different")]
    return [name, str(len(found)), *own, share, str(plain["same"]), str(plain["different"])]


def document(record: Mapping[str, Any]) -> str:
    """The page."""
    data = record["data"]
    rows = list(pairs(data))
    measured = [n for n, row in data["packages"].items() if row["pairs"]]
    missing = [n for n, row in data["packages"].items() if row.get("missing")]
    wrong = [(n, p) for n, _, p in rows if p["outcome"] == "different"]
    why = Counter(kind for _, _, p in rows if p["outcome"] == "handed over" for kind in p["findings"])
    return "\n".join(
        [
            "# Fixes carried to an older release",
            "",
            f"Measured {record['started']} by `{record['command']}`, from {data['new']} to {data['old']}.",
            f"Packages looked at: {len(data['packages'])}, with a fix in both releases: {len(measured)}, "
            f"whose source does not arrive: {len(missing)}.",
            "",
            *table(COLUMNS, counts(data)),
            "",
            _TEXT,
            "## Why fixes were handed over",
            "",
            "A fix may have several reasons.",
            "",
            *table(("reason", "fixes"), [[kind, str(n)] for kind, n in why.most_common()]),
            "",
            "## Different from what the maintainers made",
            "",
            *(
                table(
                    ("package", "CVE", "way", "patch(1)"),
                    [[n, " ".join(p["cves"]), ", ".join(p["ways"]), p["patch"]] for n, p in wrong],
                )
                if wrong
                else ["None."]
            ),
            "",
        ]
    )
