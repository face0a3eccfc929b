"""docs/results/feed.md from the raw numbers of `bench/feed`."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from markdown_table import table

COLUMNS = ("patches", "add, s", "publish, s", "publish one more, s", "publish with nothing to do, s", "metadata, MB")
LOOKS = ("patches", "look", "command, s", "of it fetching, s", "files", "KB besides the patches")
_GOAL = 100_000

_TEXT = """\
- *add* reads and checks every patch file and stages it; *publish* makes the statements, signs everything and waits for
  the disk. Both are commands, start-up included.
- *publish one more*: a patch more in the feed that is there. What it does not concern is neither read nor signed.
- *metadata*: all signed JSON that is served, statements included; patches and indexes come on top.
- *files* and *KB* are what the host downloads apart from patches: metadata, the indexes of all products, and the
  statements of its own binaries. HTTP headers are not in it.
"""


def rows(data: Mapping[str, Any]) -> list[list[str]]:
    """The keeper's side, a line for each size."""
    return [
        [
            f"{s['patches']:,}",
            f"{s['add_seconds']:.1f}",
            f"{s['publish_seconds']:.1f}",
            f"{s['one_more_seconds']:.1f}",
            f"{s['idle_seconds']:.1f}",
            f"{s['metadata_bytes'] / 1e6:.1f}",
        ]
        for s in data["sizes"]
    ]


def looks(data: Mapping[str, Any]) -> list[list[str]]:
    """The host's side, a line for each look."""
    return [
        [
            f"{s['patches']:,}",
            look["what"],
            f"{look['seconds']:.1f}",
            f"{look['fetch_seconds']:.2f}",
            str(look["files"]),
            f"{look['bytes'] / 1000:.1f}",
        ]
        for s in data["sizes"]
        for look in s["looks"]
    ]


def document(record: Mapping[str, Any]) -> str:
    """The whole page."""
    data, machine = record["data"], record["machine"]
    largest = max(data["sizes"], key=lambda s: s["patches"])
    cold = largest["looks"][0]["bytes"]
    lines = [
        "# A feed with many patches",
        "",
        f"Written by `{record['command']}` on {record['started']} (Linux {machine['kernel']}, {machine['cores']} "
        f"cores, load {machine['load']} at the start). Not edited by hand; raw numbers in bench/results/feed.json.",
        "",
        f"Each patch is for a binary of its own. A host asks for {data['mapped']:,} build-ids, of which the feed has "
        f"patches for {data['wanted']}.",
        "",
        f"- Goal {'met' if cold < _GOAL else 'not met'}: a host that needs {data['wanted']} of {largest['patches']:,} "
        f"patches downloads under {_GOAL // 1000} KB besides them ({cold / 1000:.1f} KB).",
        "",
        "## The keeper",
        "",
        *table(COLUMNS, rows(data)),
        "",
        "## A host",
        "",
        *table(LOOKS, looks(data)),
        "",
        _TEXT,
    ]
    return "\n".join(lines).rstrip() + "\n"
