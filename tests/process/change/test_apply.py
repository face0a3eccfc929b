"""Applying and reverting one patch; the programs themselves say which code they run."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from suture.error import ExitCode
from suture.number import Address
from suture.patch.file import PatchFile
from suture.process.change import prepared
from suture.process.change.apply import apply
from suture.process.change.revert import revert
from suture.process.error import Busy
from suture.process.memory.maps import choose_address
from suture.process.memory.placed import State
from suture.process.see.status import status


def test_a_patch_goes_in_and_out_of_a_running_program(
    start: Callable[..., Any], program: Path, patch: PatchFile
) -> None:
    target = start(program)
    assert target.ask("2") == "7 107 9"
    result = apply(target.pid, patch)
    assert result.exit_code is ExitCode.OK and result.groups[0].state is State.APPLIED
    assert target.ask("2") == "10 110 9"
    assert status(target.pid).patches[0].state is State.APPLIED
    back = revert(target.pid, patch.id)
    assert back.exit_code is ExitCode.OK
    assert target.ask("2") == "7 107 9"
    assert status(target.pid).patches[0].state is State.REVERTED
    assert apply(target.pid, patch).exit_code is ExitCode.OK
    assert target.ask("2") == "10 110 9"


def occupied(mappings: Any, low: int, high: int) -> int:
    """Where something else is mapped, near the image."""
    others = [m.start for m in mappings if m.end <= low or m.start >= high]
    return int(min(others, key=lambda start: abs(start - low)))


@pytest.mark.parametrize("times", [1, 4])
def test_a_place_that_the_process_takes_meanwhile_is_given_up_for_another(
    times: int, start: Callable[..., Any], program: Path, patch: PatchFile, monkeypatch: pytest.MonkeyPatch
) -> None:
    target = start(program)
    assert target.ask("2") == "7 107 9"  # it has started
    taken = iter([True] * times)
    choose = choose_address

    def late(mappings: Any, low: int, high: int, size: int) -> int | None:
        return (
            occupied(mappings, low, high) if next(taken, False) else choose(mappings, Address(low), Address(high), size)
        )

    monkeypatch.setattr(prepared, "choose_address", late)
    assert apply(target.pid, patch).exit_code is ExitCode.OK
    assert target.ask("2") == "10 110 9"
    assert status(target.pid).patches[0].state is State.APPLIED


def test_a_process_that_takes_every_place_is_busy_and_goes_on(
    start: Callable[..., Any], program: Path, patch: PatchFile, monkeypatch: pytest.MonkeyPatch
) -> None:
    target = start(program)
    assert target.ask("2") == "7 107 9"  # it has started
    monkeypatch.setattr(prepared, "choose_address", lambda mappings, low, high, size: occupied(mappings, low, high))
    with pytest.raises(Busy, match="something else is mapped"):
        apply(target.pid, patch)
    assert target.ask("2") == "7 107 9" and not status(target.pid).patches
