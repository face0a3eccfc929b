"""Applying and reverting one patch; the programs themselves say which code they run."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from suture.error import ExitCode
from suture.patch.file import PatchFile
from suture.process.apply import apply, revert
from suture.process.placed import State
from suture.process.status import status


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
