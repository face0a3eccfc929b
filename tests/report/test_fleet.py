"""How rollouts stand."""

from __future__ import annotations

from suture.report.fleet import RolloutStatus


def test_only_a_rollout_that_was_stopped_or_is_done_is_over() -> None:
    assert {s for s in RolloutStatus if s.is_over is True} == {RolloutStatus.STOPPED, RolloutStatus.DONE}
    assert all(s.is_over is False for s in RolloutStatus if s not in (RolloutStatus.STOPPED, RolloutStatus.DONE))
