"""An opening is answered in place of a guard that does nothing, and only then; the child ends with the guard."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

from suture.process.start.opening import Openings
from suture.process.start.watchdog import STALLED_SECONDS, Watchdog
from tests.process.start.conftest import Opens


def test_one_that_nobody_has_taken_is_answered_after_a_moment(file: Path, opens: Opens, eventually: Any) -> None:
    with Openings() as openings, Watchdog(openings) as watchdog:
        openings.add(str(file))
        watchdog.beat()
        begin = time.monotonic()
        assert opens(file).communicate(timeout=10)[0] == "content"
        assert time.monotonic() - begin >= STALLED_SECONDS
        eventually(lambda: watchdog.let_go == 1)


def test_one_that_was_taken_and_never_answered_too(file: Path, opens: Opens, eventually: Any) -> None:
    with Openings() as openings, Watchdog(openings) as watchdog:
        openings.add(str(file))
        reader = opens(file)
        while not (found := list(openings.waiting())):
            time.sleep(0.001)
            watchdog.beat()
        watchdog.beat(found[0].fd)
        assert reader.communicate(timeout=10)[0] == "content"
        eventually(lambda: watchdog.let_go == 1)
        openings.allow(found[0])


def test_a_guard_that_is_at_work_is_not_helped(file: Path, opens: Opens) -> None:
    with Openings() as openings, Watchdog(openings) as watchdog:
        openings.add(str(file))
        reader = opens(file)
        until = time.monotonic() + 10 * STALLED_SECONDS
        while time.monotonic() < until:
            watchdog.beat()
            time.sleep(0.001)
        assert reader.poll() is None and watchdog.let_go == 0
        for opening in openings.waiting():
            openings.allow(opening)
        assert reader.communicate(timeout=10)[0] == "content"
