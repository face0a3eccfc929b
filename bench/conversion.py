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
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

from conversion_page import document
from facts import RESULTS, Record, Start

from suture.convert import worker
from suture.convert.conversion import unfinished
from suture.convert.result import Conversion
from suture.convert.store import as_json, load
from suture.convert.worker import ToConvert
from suture.error import SutureError
from suture.source import cache, mirror
from suture.source.archive import Archive
from suture.source.update import Update, ordered

ROOT = Path(__file__).resolve().parent.parent
PAGE = ROOT / "docs/results/conversion.md"
RELEASES = ("bullseye", "bookworm", "trixie")
_KERNEL = re.compile(r"linux(-signed-amd64)?(-\d.*)?$")  # has a way of its own: docs/results/coverage-kernel.md
_PATIENCE = 20.0
_FRESH = 24 * 3600.0
_ASKED_AT_A_TIME = 8

Pair = tuple[str, str, str, str]
"""Source, release, old version, new version."""


@dataclass(frozen=True)
class Listed:
    """A version of a source package in the indexes: addresses of its files, and of the packages built from it."""

    source: str
    version: str
    files: tuple[str, ...]
    built: tuple[str, ...] = ()


def listed(release: str) -> dict[str, list[Listed]]:
    """All versions of the source packages with code for x86-64 that a release lists, by name."""
    found: dict[str, list[Listed]] = defaultdict(list)
    built = _built(release)
    for base, fields, block in _blocks(release, "Sources"):
        if fields.get("Architecture", "all").split() == ["all"]:
            continue
        names = re.findall(r"^ [0-9a-f]{64} \d+ (\S+)$", block, re.M)
        files = tuple(f"{base}/{fields['Directory']}/{n}" for n in names)
        name, version = fields["Package"], fields["Version"]
        found[name].append(Listed(name, version, files, tuple(built[name, version])))
    return found


def _built(release: str) -> dict[tuple[str, str], list[str]]:
    """Addresses of the packages with code that were built from each source version."""
    found: dict[tuple[str, str], list[str]] = defaultdict(list)
    for base, fields, _ in _blocks(release, "Packages"):
        if fields.get("Architecture") == "all":
            continue
        name, _, version = fields.get("Source", fields["Package"]).partition(" ")
        found[name, version.strip("()") or fields["Version"]].append(f"{base}/{fields['Filename']}")
    return found


def _blocks(release: str, kind: str) -> Iterator[tuple[str, dict[str, str], str]]:
    """The archive's address, the fields and the text of each block of a release's indexes."""
    places = mirror.find()
    for path in sorted(Archive(release).lists.glob(f"*_{kind}")):
        base = places.security if f"{release}-security" in path.name else places.main
        for block in path.read_text(errors="replace").split("\n\n"):
            fields = dict(re.findall(r"^([A-Z][\w-]*): (.*)$", block, re.M))
            if "Package" in fields:
                yield base, fields, block


class Arrivals:
    """Which addresses the archive answers, asked once a day; a 404 is common for what a newer one pushed out."""

    def __init__(self, place: Path) -> None:
        self.place = place
        fresh = place.exists() and time.time() - place.stat().st_mtime < _FRESH
        self.known: dict[str, bool] = json.loads(place.read_text()) if fresh else {}

    def has(self, address: str) -> bool:
        if address not in self.known:
            try:
                self.known[address] = self._ask(address)
            except (urllib.error.URLError, TimeoutError, ConnectionError):
                return False  # no answer, which another time may bring
        return self.known[address]

    @staticmethod
    def _ask(address: str) -> bool:
        request = urllib.request.Request(address.replace("+", "%2b"), method="HEAD")
        try:
            with urllib.request.urlopen(request, timeout=_PATIENCE):
                return True
        except urllib.error.HTTPError as answer:
            if answer.code in (403, 404, 410):
                return False
            raise

    def keep(self) -> None:
        self.place.parent.mkdir(parents=True, exist_ok=True)
        self.place.write_text(json.dumps(self.known))


@dataclass(frozen=True)
class Arrived:
    """The updates that arrive, and (package, release) of those that arrive in several versions, none with binaries."""

    updates: tuple[Pair, ...]
    gone: tuple[tuple[str, str], ...]


def arrived(rows: Mapping[str, Sequence[Listed]], release: str, has: Callable[[str], bool]) -> Arrived:
    """What arrives of a release: an update leads from a version with source and binaries to the next with a source."""
    several = {n: r for n, r in rows.items() if len({x.version for x in r}) > 1 and not _KERNEL.match(n)}
    flat = [x for r in several.values() for x in r]
    with ThreadPoolExecutor(_ASKED_AT_A_TIME) as pool:
        here = {x for x, there in zip(flat, pool.map(lambda x: all(map(has, x.files)), flat), strict=True) if there}
        old = {x for x, there in zip(here, pool.map(lambda x: any(map(has, x.built)), here), strict=True) if there}
    updates: list[Pair] = []
    gone = []
    for name, own in sorted(several.items()):
        versions = ordered({x.version for x in own if x in here})
        begins = {x.version for x in own if x in old}
        found = [(name, release, a, b) for a, b in pairwise(versions) if a in begins]
        updates += found
        if len(versions) > 1 and not found:
            gone.append((name, release))
    return Arrived(tuple(updates), tuple(gone))


def all_arrived(releases: Sequence[str]) -> Arrived:
    """What arrives of all releases, in the order of the SHA-256 of the packages' names."""
    answers = Arrivals(cache.root() / "bench" / "arrivals.json")
    found = [arrived(listed(release), release, answers.has) for release in releases]
    answers.keep()
    updates = sorted((u for f in found for u in f.updates), key=lambda u: hashlib.sha256(u[0].encode()).hexdigest())
    return Arrived(tuple(updates), tuple(g for f in found for g in f.gone))


def converted(update: Pair, limit: float) -> dict[str, Any]:
    """What came of one update. One that takes longer than the limit, or ends in another way, is a row too.

    `cold` says that nothing of the package's version was made ready before; `warm` are the seconds of the same once
    more, where it became patches: what the second and later builders of it wait for.
    """
    is_cold = not (cache.root() / "tree" / update[0] / cache.safe(update[2])).exists()
    row, problem, total = _once(update, limit)
    known = {**_anywhere(row or _given_up(update, problem)), "total": total, "cold": is_cold}
    if known["patches"]:
        again, _, warm = _once(update, limit)
        known["warm"] = warm if again else None
    return known


def _once(update: Pair, limit: float) -> tuple[dict[str, Any] | None, str, float]:
    """What came of one conversion in an empty folder, or why nothing did; and its seconds."""
    start = time.monotonic()
    log = cache.root() / "bench" / "conversion" / cache.safe(" ".join(update))
    log.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory() as folder, log.open("w") as said:
        try:
            command = worker.command(ToConvert(*update, output=folder))
            done = subprocess.run(command, check=False, timeout=limit, stderr=said)
            row = as_json(load(Update(*update), Path(folder))) if done.returncode == 0 else None
            problem = "" if row else f"ended with {done.returncode}"
        except subprocess.TimeoutExpired:
            row, problem = None, f"took longer than {limit / 60:.0f} minutes"
    return row, problem, time.monotonic() - start


def _anywhere(row: dict[str, Any]) -> dict[str, Any]:
    """A row that names no folder of the machine that measured it."""
    found: dict[str, Any] = json.loads(json.dumps(row).replace(str(cache.root()), "$SUTURE_CACHE"))
    return found


def _given_up(update: Pair, problem: str) -> dict[str, Any]:
    """An update that came to no end; its CVEs count as not closed."""
    try:
        return as_json(unfinished(Update(*update), problem))
    except SutureError as gone:
        return as_json(Conversion(*update, "", (), (), (), {}, f"{problem}; {gone.what}"))


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
        "--redo-failed", action="store_true", help="with --resume: those that were not made ready, again"
    )
    parser.add_argument("--redo", action="append", default=[], metavar="NAME", help="with --resume: this package again")
    parser.add_argument(
        "--only",
        action="append",
        default=[],
        metavar="NAME",
        help="with --resume: this package (NAME/RELEASE: there alone), again if need be, and no other; several runs "
        "may work side by side",
    )
    parser.add_argument("--jobs", type=int, default=1, help="how many updates at a time (1)")
    parser.add_argument(
        "--only-kept", action="store_true", help="write the page from what is measured, and measure nothing"
    )
    args = parser.parse_args(words)
    start = Start.now("conversion", words)
    if args.only_kept:
        write_page()
        return 0
    found = all_arrived(args.release or RELEASES)
    updates = [u for u in found.updates if u[0] not in args.leave_out][: args.count]
    page = Kept(start, updates, tuple(g for g in found.gone if g[0] not in args.leave_out), args.leave_out, args.limit)
    rows = page.begin(args.resume)
    again = {*args.redo, *args.only} | {r["source"] for r in rows if args.redo_failed and r["problem"]}
    done = {key_of(r) for r in rows if again.isdisjoint(names_of(key_of(r)))}
    to_do = [u for u in updates if u not in done and not (args.only and names_of(u).isdisjoint(args.only))]
    left = len(to_do)

    def one(update: Pair) -> None:
        nonlocal left
        print(f"conversion: {' '.join(update)}; {left} to go", file=sys.stderr, flush=True)
        page.add(converted(update, args.limit))
        left -= 1

    with ThreadPoolExecutor(args.jobs) as pool:
        for running in [pool.submit(one, update) for update in to_do]:
            running.result()
    return 0


def names_of(update: Pair) -> set[str]:
    """What an option may call an update's package."""
    return {update[0], f"{update[0]}/{update[1]}"}


def key_of(row: Mapping[str, Any]) -> Pair:
    """The update that a row is about."""
    return row["source"], row["release"], row["old"], row["new"]


@dataclass(frozen=True)
class Kept:
    """The raw numbers and the page, to which several runs add rows. A row stays until it is measured anew."""

    start: Start
    updates: Sequence[Pair]
    gone: Sequence[tuple[str, str]]
    left_out: Sequence[str]
    limit: float
    place: Path = RESULTS

    def begin(self, resume: bool) -> list[Mapping[str, Any]]:
        """What is measured already, for a run that goes on, of updates that still arrive."""
        return self._write((), resume)

    def add(self, row: Mapping[str, Any]) -> None:
        """A row that was measured, in the place of an earlier one."""
        self._write((row,), True)

    def _write(self, new: Sequence[Mapping[str, Any]], resume: bool) -> list[Mapping[str, Any]]:
        with cache.locked(cache.root() / "bench" / "conversion.rows"):
            place = self.place / "conversion.json"
            known = Record.read(place).data["rows"] if resume and place.exists() else []
            fresh = {key_of(r) for r in new}
            rows = [r for r in known if key_of(r) not in fresh and (r["source"], r["release"]) not in self.gone]
            rows += new
            done = {key_of(r) for r in rows}
            facts = {
                "rows": rows,
                "waiting": [list(u) for u in self.updates if u not in done],
                "gone": [list(g) for g in self.gone],
                "left_out": list(self.left_out),
                "limit": self.limit,
            }
            self.start.finish(facts).write(self.place)
            write_page()
        return rows


def write_page() -> None:
    """The page from what is kept, with the kernel's part and full rebuilds where they were measured."""
    kernel, rebuild = (
        json.loads(path.read_text()) if path.exists() else None
        for path in (RESULTS / "kernel_conversion.json", RESULTS / "rebuild.json")
    )
    PAGE.write_text(document(json.loads((RESULTS / "conversion.json").read_text()), kernel, rebuild))


if __name__ == "__main__":
    sys.exit(main())
