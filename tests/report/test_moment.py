"""The time as reports write it."""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta

from suture.report.moment import now


def test_the_time_is_utc_with_milliseconds_and_can_be_read_back() -> None:
    before = datetime.now(UTC)
    written = now()
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z", written)
    assert timedelta(milliseconds=-1) <= datetime.fromisoformat(written) - before < timedelta(minutes=1)
