"""What a demo prints: one line for each thing that happened, with the time since the demo began; and `suture` run
before the reader's eyes."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from demo_files.clients import Count
from suture.error import SutureError

SUTURE = Path(sys.executable).with_name("suture")
HEARTBEAT = 20.0  # seconds between signs of life of a command that takes long
_MOST_FAILURES = 5


class DemoFailed(SutureError):
    """Something did not go as the demo promises."""

    def __init__(self, what: str) -> None:
        super().__init__(what, "run ./test, and report what it and the demo print")


@dataclass
class Telling:
    """`begun`: when the person began to wait, in seconds since the epoch. `marks`: moments of a time line."""

    begun: float = field(default_factory=lambda: float(os.environ.get("SUTURE_DEMO_START", time.time())))
    marks: list[tuple[str, float]] = field(default_factory=list)

    @property
    def seconds(self) -> float:
        return time.time() - self.begun

    def say(self, text: str, *more: str) -> None:
        """A line with the time, and lines that belong to it."""
        print(f"{self.seconds:6.1f} s  {text}", flush=True)
        for line in more:
            print(f"{'':10}{line}", flush=True)

    def mark(self, name: str, at: float | None = None) -> None:
        """A moment of the time line: now, or `at` (seconds since the epoch)."""
        self.marks.append((name, time.time() if at is None else at))

    def time_line(self, title: str) -> None:
        """All moments since the last time line, in seconds after the first of them."""
        print(f"\n{title}", flush=True)
        for name, at in self.marks:
            print(f"{at - self.marks[0][1]:10.2f} s  {name}", flush=True)
        print(flush=True)
        self.marks.clear()

    def suture(self, *words: str | Path, meanwhile: str = "still at work") -> dict[str, Any]:
        """The answer of the command, with --json. What takes long gives signs of life. Raises `DemoFailed`."""
        command = [str(SUTURE), *map(str, words), "--json"]
        with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
            while True:
                try:
                    out, _ = process.communicate(timeout=HEARTBEAT)
                    break
                except subprocess.TimeoutExpired:
                    self.say(f"... {meanwhile}")
        answer: dict[str, Any] = json.loads(out) if out else {}
        if process.returncode != 0:
            raise DemoFailed(f"suture {words[0]} ended with {process.returncode}: {json.dumps(answer, indent=2)}")
        return answer


def outcome(count: Count) -> None:
    """What the clients met; raises `DemoFailed` unless every request was served."""
    slowest = f"slowest answer {count.slowest * 1000:.0f} ms"
    print(f"Clients: served {count.served}, failed {len(count.failures)}; {slowest}", flush=True)
    for failure in count.failures[:_MOST_FAILURES]:
        print(f"    {failure}", flush=True)
    if count.failures or not count.served:
        raise DemoFailed(f"{len(count.failures)} requests failed, {count.served} were served")


def finish(show: Callable[[], Count]) -> int:
    """The exit code of what is shown: 0 when all went as promised; else the error is printed."""
    try:
        outcome(show())
    except SutureError as error:
        print(f"error: {error.what}\nremedy: {error.remedy}", file=sys.stderr)
        return 1
    return 0
