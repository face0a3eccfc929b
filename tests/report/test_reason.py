"""Identifiers of reasons."""

from __future__ import annotations

import re

import pytest

from suture.error import ExitCode, NotFound, Refused, SutureError
from suture.process.error import Hostile, NoProcess
from suture.report.reason import Cause, Reason


@pytest.mark.parametrize("reason", Reason, ids=str)
def test_an_identifier_is_two_plain_words_of_which_the_first_tells_the_kind(reason: Reason) -> None:
    assert re.fullmatch(r"[a-z-]+(\.[a-z0-9-]+)?", reason)
    assert reason.kind in Reason and reason.startswith(reason.kind)


def test_an_error_tells_its_reason_and_one_without_has_that_of_its_exit_code() -> None:
    assert Refused("x", "y", reason=Reason.LOSS).cause == Cause(Reason.LOSS, "x", "y")
    assert NotFound("x", "y").reason is Reason.MISSING
    assert SutureError("x", "y").reason is Reason.DEFECT
    assert NoProcess(1).reason is Reason.ENDED and NoProcess(1).exit_code is ExitCode.NO_PROCESS
    assert Hostile(1, "x", reason=Reason.TOO_COSTLY).reason is Reason.TOO_COSTLY


@pytest.mark.parametrize("code", [c for c in ExitCode if c is not ExitCode.OK], ids=lambda c: c.name)
def test_each_exit_code_has_a_reason_of_the_first_word_alone(code: ExitCode) -> None:
    class Own(SutureError):
        exit_code = code

    assert "." not in Own("x", "y").reason
