"""Counts of the running kernel become events, whichever module they stand in."""

from __future__ import annotations

import pytest

from suture.host import attempts
from suture.host.attempts import Attempts
from suture.kernel.attempts import wire_text
from suture.kernel.livepatch import LoadedPatch
from suture.patch.tripwire import Tripwire

WIRE = Tripwire("drivers/tty/vt/vt_ioctl.c", 411, "vt_k_ioctl", "!perm", "exit", "a.patch", ("CVE-2099-1",), 0)


def module(name: str, count: int) -> LoadedPatch:
    record = {"patch": name, "target": "6.1.176-1", "tripwires": str(count), "tripwire_0": wire_text(WIRE)}
    return LoadedPatch(name, True, False, (), record)


class Kernel:
    """What is loaded, and a clock that goes on by a minute with each look."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.loaded: tuple[LoadedPatch, ...] = ()
        self.now = 0.0
        monkeypatch.setattr(attempts, "patches", lambda: self.loaded)
        monkeypatch.setattr(attempts, "list_processes", lambda: [])
        self.attempts = Attempts(clock=self._clock)

    def _clock(self) -> float:
        self.now += 60
        return self.now

    def look(self, *loaded: LoadedPatch) -> list[tuple[int, int]]:
        """(count, total) of each event."""
        self.loaded = loaded
        return [(e.count, e.total) for e in self.attempts.look()]


def test_what_was_counted_before_is_no_event_and_a_rise_is_one(monkeypatch: pytest.MonkeyPatch) -> None:
    kernel = Kernel(monkeypatch)
    assert kernel.look(module("suture_a", 5)) == []
    assert kernel.attempts.in_kernel
    assert kernel.look(module("suture_a", 5)) == []
    assert kernel.look(module("suture_a", 8)) == [(3, 8)]


def test_a_module_that_goes_on_from_anothers_count_tells_only_what_is_new(monkeypatch: pytest.MonkeyPatch) -> None:
    kernel = Kernel(monkeypatch)
    kernel.look(module("suture_a", 5))
    assert kernel.look(module("suture_b", 6)) == [(1, 6)]


def test_a_module_that_is_loaded_again_counts_from_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    kernel = Kernel(monkeypatch)
    kernel.look(module("suture_a", 5))
    assert kernel.look() == []
    assert not kernel.attempts.in_kernel
    assert kernel.look(module("suture_a", 2)) == [(2, 2)]


def test_an_event_of_the_kernel_names_it(monkeypatch: pytest.MonkeyPatch) -> None:
    kernel = Kernel(monkeypatch)
    kernel.look(module("suture_a", 0))
    kernel.loaded = (module("suture_a", 1),)
    (event,) = kernel.attempts.look()
    assert (event.process.pid, event.process.command, event.uid) == (0, "kernel", -1)
    assert event.text == "1 attempt: CVE-2099-1 kernel 6.1.176-1 drivers/tty/vt/vt_ioctl.c:411 vt_k_ioctl: !perm"
