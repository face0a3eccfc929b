"""However many starts there are, few lines tell of them, and what some of them lack is due once."""

from __future__ import annotations

import pytest

from suture.agent.hold import HeldStart
from suture.agent.journal import Journal
from suture.agent.starts import LateStarts
from suture.report.start import StartEnd

PATCH = "0123456789abcdef"


def began(end: StartEnd, command: str = "service") -> HeldStart:
    return HeldStart(7, command, "/usr/lib/libx.so", (PATCH,), end, "")


def test_starts_that_were_patched_are_counted_and_nothing_is_due(capfd: pytest.CaptureFixture[str]) -> None:
    now = [0.0]
    late = LateStarts(Journal(), lambda: now[0])
    late.note([began(StartEnd.PATCHED)] * 500 + [began(StartEnd.NOT_LOADED, "cp")] * 3, 0, ())
    now[0] = 11.0
    late.note([], 0, ())
    assert late.due() == set()
    assert capfd.readouterr().err == "patched as they started: 500 of service (/usr/lib/libx.so)\n"


@pytest.mark.parametrize("end", [StartEnd.FAILED, StartEnd.EXECUTED])
def test_a_start_with_the_old_code_is_told_and_its_patch_is_due_once(
    end: StartEnd, capfd: pytest.CaptureFixture[str]
) -> None:
    now = [100.0]
    late = LateStarts(Journal(), lambda: now[0])
    late.note([began(end)] * 300, 0, ())
    assert late.due() == set(), "it has to load first"
    now[0] += 0.1
    assert late.due() == {PATCH} and late.due() == set()
    assert capfd.readouterr().err.count("started without: pid 7 service") == 8
    late.note([began(end)], 0, ())
    assert late.due() == set(), "not more often than once a second"
    now[0] += 2.0
    assert late.due() == {PATCH}
