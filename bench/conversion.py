"""Converts updates of the archive, all that arrive, and writes docs/results/conversion.md.

An update is a source package with code for x86-64 of which a release's indexes list more than one version, where the
source of a newer version and that of an older one both arrive. Which package comes when is told by the SHA-256 of its
name. Each is converted by `suture.convert` in a process of its own, as `suture watch` does it; what is measured is kept
after each.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import re
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from conversion_page import document
from facts import RESULTS, Record, Start

from suture.convert import worker
from suture.convert.store import as_json, load
from suture.convert.worker import ToConvert
from suture.source import mirror
from suture.source.archive import Archive
from suture.source.update import Update, ordered

ROOT = Path(__file__).resolve().parent.parent
PAGE = ROOT / "docs/results/conversion.md"
RELEASES = ("bullseye", "bookworm", "trixie")
_KERNEL = frozenset({"linux", "linux-signed-amd64"})  # has a way of its own: docs/results/coverage-kernel.md
_PATIENCE = 20.0


@dataclass(frozen=True)
class Listed:
    """A version of a source package in the indexes, and the addresses of its files."""

    source: str
    version: str
    files: tuple[str, ...]


def listed(release: str) -> dict[str, list[Listed]]:
    """All versions of the source packages with code for x86-64 that a release lists, by name."""
    places = mirror.find()
    found: dict[str, list[Listed]] = defaultdict(list)
    for path in sorted(Archive(release).lists.glob("*_Sources")):
        base = places.security if f"{release}-security" in path.name else places.main
        for block in path.read_text(errors="replace").split("\n\n"):
            fields = dict(re.findall(r"^([A-Z][\w-]*): (.*)$", block, re.M))
            if "Package" not in fields or fields.get("Architecture", "all").split() == ["all"]:
                continue
            names = re.findall(r"^ [0-9a-f]{64} \d+ (\S+)$", block, re.M)
            one = Listed(
                fields["Package"], fields["Version"], tuple(f"{base}/{fields['Directory']}/{n}" for n in names)
            )
            found[one.source].append(one)
    return found


def arrives(one: Listed) -> bool:
    """Whether the archive has every file of a source; a 404 is common for security updates that a newer one pushed
    out."""
    for file in one.files:
        request = urllib.request.Request(file.replace("+", "%2b"), method="HEAD")
        try:
            with urllib.request.urlopen(request, timeout=_PATIENCE):
                pass
        except (urllib.error.URLError, TimeoutError):
            return False
    return True


def pairs(release: str) -> Iterator[tuple[str, str, str, str]]:
    """(source, release, old, new) of each update that arrives: the newest version that does, and the newest before
    it."""
    several = {
        n: rows for n, rows in listed(release).items() if len({r.version for r in rows}) > 1 and n not in _KERNEL
    }
    flat = [row for rows in several.values() for row in rows]
    with ThreadPoolExecutor(8) as pool:
        here = {row for row, there in zip(flat, pool.map(arrives, flat), strict=True) if there}
    for name, rows in sorted(several.items()):
        versions = ordered({r.version for r in rows if r in here})
        if len(versions) > 1:
            yield name, release, versions[-2], versions[-1]


def chosen(releases: Sequence[str]) -> list[tuple[str, str, str, str]]:
    found = [p for release in releases for p in pairs(release)]
    return sorted(found, key=lambda p: (hashlib.sha256(p[0].encode()).hexdigest(), p[1]))


def converted(update: tuple[str, str, str, str], limit: float) -> dict[str, Any]:
    """What came of one update. One that takes longer than the limit, or ends in another way, is a row too."""
    start = time.monotonic()
    with tempfile.TemporaryDirectory() as folder:
        try:
            done = subprocess.run(worker.command(ToConvert(*update, output=folder)), check=False, timeout=limit)
            row = as_json(load(Update(*update), Path(folder))) if done.returncode == 0 else None
            problem = "" if row else f"ended with {done.returncode}"
        except subprocess.TimeoutExpired:
            row, problem = None, f"took longer than {limit / 60:.0f} minutes"
    name, release, old, new = update
    facts = row or {
        "source": name, "release": release, "old": old, "new": new, "way": "", "fixes": [], "cves": [], "patches": [],
        "seconds": {}, "problem": problem,
    }  # fmt: skip
    return {**facts, "total": time.monotonic() - start}


def main(words: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description="Writes docs/results/conversion.md.")
    parser.add_argument("--count", type=int, default=1000, help="how many updates at most (all)")
    parser.add_argument("--release", action="append", choices=RELEASES, help="only this release; may be repeated")
    parser.add_argument("--limit", type=float, default=2400.0, help="seconds for one update (2400)")
    parser.add_argument(
        "--leave-out",
        action="append",
        default=[],
        metavar="NAME",
        help="a package that is left out, and named on the page",
    )
    parser.add_argument("--resume", action="store_true", help="take what an earlier run has measured")
    parser.add_argument(
        "--redo-failed", action="store_true", help="with --resume: try those again that could not be made ready"
    )
    parser.add_argument(
        "--only-kept", action="store_true", help="write the page from what is measured, and measure nothing"
    )
    args = parser.parse_args(words)
    place = RESULTS / "conversion.json"
    start = Start.now("conversion", words)
    known = (
        Record.read(place).data if place.exists() and (args.resume or args.only_kept) else {"rows": [], "waiting": []}
    )
    if args.only_kept:
        record = Record.read(place)
        PAGE.write_text(document(json.loads(place.read_text())))
        return 0 if record else 1
    rows = [*known["rows"]]
    updates = [u for u in chosen(args.release or RELEASES) if u[0] not in args.leave_out][: args.count]
    if args.redo_failed:
        rows = [r for r in rows if not r["problem"]]
    done = {(r["source"], r["release"], r["old"], r["new"]) for r in rows}
    waiting = [u for u in updates if u not in done]
    _keep(start, rows, waiting, args.leave_out)
    for number, update in enumerate(waiting, 1):
        print(f"conversion: {number} of {len(waiting)}: {' '.join(update)}", file=sys.stderr, flush=True)
        rows.append(converted(update, args.limit))
        _keep(start, rows, waiting[number:], args.leave_out)
    _keep(start, rows, [], args.leave_out)
    return 0


def _keep(
    start: Start, rows: Sequence[Mapping[str, Any]], waiting: Sequence[Sequence[str]], left: Sequence[str]
) -> None:
    record = start.finish({"rows": rows, "waiting": [list(w) for w in waiting], "left_out": list(left)})
    record.write(RESULTS)
    PAGE.write_text(document(json.loads((RESULTS / "conversion.json").read_text())))


if __name__ == "__main__":
    sys.exit(main())
