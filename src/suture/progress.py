"""Progress of long work, as libraries report it: one short line per step that begins, and how long steps took.

Libraries take `progress: Progress = silent` and call it as `progress("compiling crypto/cms/cms_pwri.c")`: present
participle, lower case, no full stop. `suture.cli.output` decides whether and how a person sees it.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

Progress = Callable[[str], None]


def silent(step: str) -> None:
    """Report nothing; the default wherever a `Progress` is taken."""


@dataclass
class Clock:
    """Seconds spent per step; steps may be entered more than once."""

    seconds: dict[str, float] = field(default_factory=dict)

    @contextmanager
    def step(self, name: str) -> Iterator[None]:
        start = time.monotonic()
        try:
            yield
        finally:
            self.seconds[name] = self.seconds.get(name, 0.0) + time.monotonic() - start
