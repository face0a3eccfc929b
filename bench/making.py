"""Seconds from a fix to a live patch, with nothing at hand, with a prepared tree, and again. `bench/making` calls it.

*Cold*: an empty cache: indexes, clean room, build dependencies, source, configuration, all from the archive. *Warm*:
the tree is prepared and nothing is compiled. *Again*: the same fix once more. `--build` times the full build of a
package in the same room.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import sys
import tempfile
import time
import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from facts import RESULTS, Start

from suture.cli.output import print_json, print_table
from suture.command import CommandFailed, run
from suture.error import ExitCode

_HERE = Path(__file__).resolve().parent
_OWN = frozenset({"object", "post", "run"})
_ROOMY = os.environ.get("TMPDIR", "/var/tmp")  # clean rooms need a file system that overlays can lie on
_WARM_ROUNDS = 5


@dataclass(frozen=True)
class Case:
    """One package with one fix. `words` go to `suture make`; `goal` is in seconds, 0: none."""

    package: str
    words: tuple[str, ...]
    fix: str
    goal: float
    real: bool

    @property
    def source(self) -> str:
        return next(w.removeprefix("--source=") for w in self.words if w.startswith("--source="))


def read_cases(path: Path = _HERE / "making.toml") -> list[Case]:
    rows = tomllib.loads(path.read_text())
    fixes = str(_HERE / "fixes")
    return [
        Case(
            name,
            tuple(w.replace("{fixes}", fixes) for w in row["words"]),
            row["fix"],
            row.get("goal", 0.0),
            row.get("real", True),
        )
        for name, row in rows.items()
    ]


def main(words: Sequence[str] | None = None) -> int:
    """Exit code 1 when a making failed. Results of packages that are not named are kept from the last run."""
    cases = read_cases()
    parser = argparse.ArgumentParser(prog="bench/making", description="Seconds to make a live patch, cold and warm.")
    parser.add_argument(
        "packages", nargs="*", metavar="PACKAGE", help=f"of {', '.join(c.package for c in cases)} (default: all)"
    )
    parser.add_argument(
        "--build", action="store_true", help="time the full build of each package instead (minutes; tests left out)"
    )
    parser.add_argument("--warm-only", action="store_true", help="use the usual cache and leave the cold making out")
    parser.add_argument("--json", action="store_true", help="print the raw numbers")
    parser.add_argument("--into", type=Path, default=RESULTS, metavar="DIR", help="where the raw numbers are kept")
    args = parser.parse_args(words)
    unknown = set(args.packages) - {c.package for c in cases}
    if unknown:
        parser.error(f"no such package: {', '.join(sorted(unknown))}")
    chosen = [c for c in cases if not args.packages or c.package in args.packages]
    bench = "build" if args.build else "making"
    start = Start.now("making", words)
    found = {}
    for case in chosen:
        print(f"{case.package}: {'full build' if args.build else case.fix}", file=sys.stderr, flush=True)
        found[case.package] = _built(case) if args.build else _made(case, args.warm_only)
    former = _former(args.into / f"{bench}.json") if args.packages else {}
    record = start.finish({**former, **found})
    record = type(record)(bench, record.command, record.started, record.machine, record.data)
    record.write(args.into)
    if args.json:
        print_json(record.data)
    else:
        print_table(COLUMNS, rows(record.data, {}) if not args.build else rows({}, record.data))
    return int(any("error" in row for row in found.values()))


def _former(path: Path) -> dict[str, Any]:
    return dict(json.loads(path.read_text())["data"]) if path.exists() else {}


def _made(case: Case, warm_only: bool) -> dict[str, Any]:
    """Seconds by step. A cold making has a cache of its own, so that nothing at hand can help."""
    facts: dict[str, Any] = {"source": case.source, "fix": case.fix, "goal": case.goal, "real": case.real}
    try:
        if warm_only:
            from suture.source import cache

            _make(case, cache.root())  # what the tree needs is there afterwards
            return {**facts, **_warm(case, cache.root())}
        with tempfile.TemporaryDirectory(prefix="suture-cold-", dir=_ROOMY) as name:
            cold = _make(case, Path(name))
            return {**facts, "cold": cold, **_warm(case, Path(name))}
    except CommandFailed as failed:
        return {**facts, "error": f"suture make ended with status {failed.status}", "status": failed.status}


def _warm(case: Case, cache: Path) -> dict[str, Any]:
    """Makings in a cache that is linked to `cache` but for what is compiled, which each time begins empty."""
    warm, again = [], []
    for _ in range(_WARM_ROUNDS):
        with tempfile.TemporaryDirectory(prefix="suture-warm-", dir=_ROOMY) as name:
            for entry in cache.iterdir():
                if entry.name not in _OWN:
                    (Path(name) / entry.name).symlink_to(entry)
            warm.append(_make(case, Path(name)))
            again.append(_make(case, Path(name)))
    return {"warm": warm, "again": again}


def _make(case: Case, cache: Path) -> dict[str, float]:
    """One `suture make`: seconds by step, and `wall` with the start of the command."""
    with tempfile.TemporaryDirectory() as out:
        argv = [sys.executable, "-m", "suture.cli", "make", *case.words, "--json", f"--output={out}"]
        begin = time.monotonic()
        printed = run(argv, env={"SUTURE_CACHE": str(cache)}, accept=frozenset({ExitCode.OK, ExitCode.PARTIAL}))
        wall = time.monotonic() - begin
    return {**json.loads(printed)["seconds"], "wall": wall}


def _built(case: Case) -> dict[str, Any]:
    """Seconds of dpkg-buildpackage in the package's clean room, as the archive's builders run it, without its tests."""
    from suture.compile.recipe import load
    from suture.compile.room import Rights, for_source
    from suture.source.archive import archive_for

    name, _, version = case.source.partition("=")
    archive = archive_for(name, version)
    source = archive.source(name, version)
    room = for_source(source, archive, load(name).profiles)
    cores = len(os.sched_getaffinity(0))
    options = f"parallel={cores} nocheck"
    script = (
        "cp -a /run/suture/source /build && cd /build && exec dpkg-buildpackage --build=any --unsigned-changes "
        ">/build.log 2>&1"
    )
    begin = time.monotonic()
    # packaging wants root where debian/control does not say otherwise
    given = [(source.tree, "/run/suture/source")]
    room.enter(script, binds=given, env={"DEB_BUILD_OPTIONS": options}, rights=Rights.INSTALL)
    return {"source": case.source, "options": options, "seconds": time.monotonic() - begin}


COLUMNS = (
    "package",
    "fix",
    "cold",
    "warm",
    "prepare",
    "compile",
    "match",
    "make",
    "again",
    "goal (warm)",
    "full build",
)


def rows(making: Mapping[str, Any], build: Mapping[str, Any]) -> list[list[str]]:
    """Lines of the table in seconds; steps are those of the warm making."""
    found = []
    for package in dict.fromkeys([*making, *build]):
        row, full = making.get(package, {}), build.get(package, {})
        warm = row.get("warm", [])
        cells = [package, row.get("fix", "-")]
        cells.append(f"{row['cold']['wall']:.1f}" if "cold" in row else row.get("error", "-"))
        cells.append(f"{warm_seconds(row):.2f}" if warm else "-")
        for step in ("prepare", "compile", "match", "make"):
            cells.append(f"{statistics.median(w.get(step, 0.0) for w in warm):.2f}" if warm else "-")
        cells.append(f"{statistics.median(w['wall'] for w in row['again']):.2f}" if row.get("again") else "-")
        cells.append(f"{row['goal']:.0f}" if row.get("goal") else "-")
        cells.append(f"{full['seconds']:.0f}" if full else "-")
        found.append(cells)
    return found


def warm_seconds(row: Mapping[str, Any]) -> float:
    return statistics.median(float(w["wall"]) for w in row["warm"])


if __name__ == "__main__":
    sys.exit(main())
