"""Exceptions."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest

from suture.comply.exemption import BadExemption, check, holding
from suture.report.deadline import Exemption

T, DAY = datetime(2026, 7, 1, tzinfo=UTC), timedelta(days=1)
ONE = Exemption(1, "CVE-1", "", "why", "ann", "firewall", T.isoformat(), (T + 9 * DAY).isoformat(), "bob")


def test_one_holds_for_its_hole_from_approval_to_expiry() -> None:
    assert holding([ONE], "a", "CVE-1", T) == ONE
    assert holding([ONE], "a", "CVE-2", T) is None
    assert holding([ONE], "a", "CVE-1", T + 9 * DAY) is None
    assert holding([replace(ONE, approved_by="")], "a", "CVE-1", T) is None
    assert holding([replace(ONE, host="b")], "a", "CVE-1", T) is None


@pytest.mark.parametrize(
    ("field", "value", "told"),
    [("control", " ", "no control"), ("expires", T.isoformat(), "before it begins"), ("approved_by", "ann", "himself")],
)
def test_one_that_lacks_something_is_refused(field: str, value: str, told: str) -> None:
    check(ONE)
    with pytest.raises(BadExemption, match=told):
        check(replace(ONE, **{field: value}))  # type: ignore[arg-type]
