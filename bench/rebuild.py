"""Measures the time from an update to live patches that were tried beside that of a full rebuild of the same update,
and adds it to docs/results/conversion.md.

Each package begins with the archive's indexes, its release's base room (a chroot with build-essential) and the
packages that apt has fetched: *cold* fetches the sources and the shipped binaries, installs the build dependencies,
plans, makes and tries; *warm* is the same once more; *rebuild* installs the build dependencies in the base room anew,
and
builds all packages of the new version, with their tests and without. All of it is done in one run.
"""

from __future__ import annotations

import argparse
import os
import sys
import tempfile
import time
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

from conversion import RELEASES, Pair, converted, key_of, names_of, write_page
from facts import RESULTS, Record, Start

from suture.compile import room
from suture.els import source_package
from suture.els.package_build import build, building_room
from suture.error import SutureError
from suture.source import cache
from suture.source.archive import Archive, SourceVersion

_ASKED = (*RELEASES, "sid")  # whose indexes a conversion reads
_SHARED = ("apt", "room")  # indexes with the packages that apt has fetched, and base rooms
_MOST_SECONDS, _COUNT, _LIMIT = 300.0, 5, 3600.0


def chosen(names: Sequence[str]) -> list[Pair]:
    """The updates that are named; else the first five of docs/results/conversion.md that became patches within five
    minutes, in the order of that page's run, one of a package."""
    rows = Record.read(RESULTS / "conversion.json").data["rows"]
    if names:
        return [key_of(r) for r in rows if not names_of(key_of(r)).isdisjoint(names)]
    found: dict[str, Pair] = {}
    for row in rows:
        if row["patches"] and row["total"] < _MOST_SECONDS:
            found.setdefault(row["source"], key_of(row))
    return list(found.values())[:_COUNT]


def rebuilt(source: SourceVersion, archive: Archive) -> dict[str, float | None]:
    """Seconds to install the build dependencies, to build with tests, and without; None for a build that fails."""
    begin = time.monotonic()
    where = building_room(source, archive)
    found: dict[str, float | None] = {"dependencies": time.monotonic() - begin}
    for name, options in (("with tests", ()), ("without tests", ("nocheck",))):
        with tempfile.TemporaryDirectory() as folder:
            source_package.write(Path(folder), source, source, (), "", "")
            begin = time.monotonic()
            done = build(where, Path(folder), f"{source.name}-{source.upstream}", options)
            found[name] = time.monotonic() - begin if done.succeeded else None
    return found


def measured(update: Pair) -> dict[str, Any]:
    """One update, in the cache that is set."""
    name, release, _, new = update
    archive = Archive(release)
    room.base(archive)
    row = converted(update, _LIMIT)
    facts = {"source": name, "release": release, "new": new, "cold": row["total"], "warm": row.get("warm")}
    return facts | {"patches": len(row["patches"]), "rebuild": rebuilt(archive.source(name, new), archive)}


def main(words: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="bench/rebuild", description=(__doc__ or "").partition("\n\n")[0])
    parser.add_argument("name", nargs="*", metavar="NAME", help="a package, or NAME/RELEASE (five, by a rule)")
    args = parser.parse_args(words)
    start, rows = Start.now("rebuild", words), []
    updates = chosen(args.name)
    shared = cache.root()
    with tempfile.TemporaryDirectory(prefix="suture-rebuild-", dir=shared) as place:
        for name in _SHARED:
            (shared / name).mkdir(parents=True, exist_ok=True)
            Path(place, name).symlink_to(shared / name)
        os.environ["SUTURE_CACHE"] = place
        for release in _ASKED:
            _ = Archive(release).lists
        for update in updates:
            print(f"rebuild: {' '.join(update)}", file=sys.stderr, flush=True)
            with suppress(SutureError):
                rows.append(measured(update))
                start.finish({"rows": rows}).write(RESULTS)
                write_page()
    return 0 if len(rows) == len(updates) else 1


if __name__ == "__main__":
    sys.exit(main())
