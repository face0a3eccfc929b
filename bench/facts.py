"""What the numbers of a benchmark depend on, and the file that keeps both. No host name and no path goes into it.

`python bench/facts.py NAME.json...` writes kept files again as they are written today, for instance after a merge.
"""

from __future__ import annotations

import json
import os
import platform
import shlex
import sys
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import kept

RESULTS = Path(__file__).resolve().parent / "results"


@dataclass(frozen=True)
class Machine:
    """`load` is the load average over the last minute when the benchmark started; an idle machine has about 0."""

    processor: str
    cores: int
    virtual: bool
    kernel: str
    python: str
    load: float

    @classmethod
    def here(cls) -> Machine:
        info = Path("/proc/cpuinfo").read_text()
        split = (line.partition(":") for line in info.splitlines())
        rows = {name.strip(): value.strip() for name, _, value in split}
        virtual = "hypervisor" in rows.get("flags", "").split()
        cores = len(os.sched_getaffinity(0))
        load = round(os.getloadavg()[0], 2)
        return cls(
            rows.get("model name", "unknown"), cores, virtual, platform.release(), platform.python_version(), load
        )


@dataclass(frozen=True)
class Record:
    """One run of one benchmark: the command that made it, when, on what, and its raw numbers."""

    bench: str
    command: str
    started: str
    machine: Machine
    data: Mapping[str, Any]

    @classmethod
    def read(cls, path: Path) -> Record:
        raw = json.loads(path.read_text())
        return cls(raw["bench"], raw["command"], raw["started"], Machine(**raw["machine"]), raw["data"])

    def write(self, folder: Path) -> Path:
        folder.mkdir(parents=True, exist_ok=True)
        path = folder / f"{self.bench}.json"
        path.write_text(kept.text(asdict(self)))
        return path


@dataclass(frozen=True)
class Start:
    """Taken when a benchmark starts, so that the load is that of the others and not its own."""

    bench: str
    words: tuple[str, ...]
    at: str
    machine: Machine

    @classmethod
    def now(cls, bench: str, words: Sequence[str] | None) -> Start:
        given = tuple(sys.argv[1:] if words is None else words)
        return cls(bench, given, datetime.now(UTC).strftime("%Y-%m-%d %H:%M UTC"), Machine.here())

    def finish(self, data: Mapping[str, Any]) -> Record:
        """The record, its numbers rounded (`kept.rounded`), so that a page says the same now and when it is written
        from the file."""
        command = shlex.join([f"bench/{self.bench}", *_without_places(self.words)])
        return Record(self.bench, command, self.at, self.machine, kept.rounded(data))


def _without_places(words: Sequence[str]) -> list[str]:
    """Arguments without `--into FOLDER`, `--page FILE` and `--json`, which change nothing about the numbers."""
    kept: list[str] = []
    skip = False
    for word in words:
        if skip or word in ("--into", "--page"):
            skip = not skip
        elif word != "--json" and not word.startswith(("--into=", "--page=")):
            kept.append(word)
    return kept


def main(words: Sequence[str]) -> int:
    for name in words:
        record = Record.read(RESULTS / name)
        replace(record, data=kept.rounded(record.data)).write(RESULTS)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
