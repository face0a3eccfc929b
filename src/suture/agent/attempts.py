"""Attempts as the agent passes them on: a line each in a file, which others read, and a counter for Prometheus.

The part that reads processes runs as root and has no network: it writes files. Who sends them on has no rights.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from suture import whole_file
from suture.report.document import AttemptReport
from suture.report.encoding import compact, encode
from suture.report.exposition import family

LOG, METRICS = "attempts.jsonl", "attempts.prom"
MOST_LOG = 4 << 20
_MOST_SERIES = 1000
_MOST_LINE = 1 << 16
_HARMFUL = re.compile(r"[^ -~]")
_Series = tuple[tuple[str, str], ...]


@dataclass
class AttemptLog:
    """Both files in `folder`. The log begins anew when it has 4 MiB; one earlier is kept, with `.1` behind its name."""

    folder: Path
    _totals: dict[_Series, int] = field(default_factory=dict)

    def tell(self, event: AttemptReport) -> None:
        """Write an event. Raises OSError."""
        path = self.folder / LOG
        if path.exists() and path.stat().st_size >= MOST_LOG:
            os.replace(path, path.with_name(f"{LOG}.1"))
        line = compact(encode(event)) + b"\n"
        handle = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_NOFOLLOW | os.O_CLOEXEC, 0o644)
        try:
            os.write(handle, line)
        finally:
            os.close(handle)
        self._count(event)
        whole_file.replace(self.folder / METRICS, self.metrics().encode())

    def _count(self, event: AttemptReport) -> None:
        """What would be a series too many is counted under one that names no place."""
        wire = event.wire
        labels = {"binary": wire.binary, "cve": " ".join(wire.cves), "file": wire.file, "line": str(wire.line)}
        key = tuple(sorted({**labels, "program": event.process.program}.items()))
        if key not in self._totals and len(self._totals) >= _MOST_SERIES:
            key = tuple((name, "other") for name, _ in key)
        self._totals[key] = self._totals.get(key, 0) + event.count

    def metrics(self) -> str:
        """The counters in the text format of Prometheus."""
        samples = (({n: _HARMFUL.sub("?", v) for n, v in key}, total) for key, total in sorted(self._totals.items()))
        text = "Attempts to use a hole that a live patch has closed."
        return "".join(f"{line}\n" for line in family("suture_attempts_total", text, samples, "counter"))


class AttemptReader:
    """The lines that come into a log from now on, whoever writes it and however often it begins anew."""

    def __init__(self, path: Path) -> None:
        self._path = path
        facts = self._facts()
        self._inode, self._at = facts if facts else (0, 0)

    def _facts(self) -> tuple[int, int] | None:
        try:
            found = os.stat(self._path)
        except OSError:
            return None
        return found.st_ino, found.st_size

    def lines(self) -> Iterator[bytes]:
        """Whole lines that are new."""
        facts = self._facts()
        if facts is None:
            return
        if facts[0] != self._inode or facts[1] < self._at:
            yield from self._rest(self._path.with_name(f"{self._path.name}.1"))
            self._inode, self._at = facts[0], 0
        yield from self._rest(self._path)

    def _rest(self, path: Path) -> Iterator[bytes]:
        try:
            with open(path, "rb") as file:
                if os.fstat(file.fileno()).st_ino != self._inode:
                    return
                file.seek(self._at)
                while (line := file.readline(_MOST_LINE)).endswith(b"\n"):
                    self._at += len(line)
                    yield line
        except OSError:
            return
