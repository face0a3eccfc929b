"""The audit log shows what was done to it."""

from __future__ import annotations

import pytest
from sqlalchemy import text

from suture.fleet import audit
from tests.fleet.conftest import FakeFleet


@pytest.mark.parametrize(
    "edit",
    [
        "UPDATE audit SET who = 'nobody' WHERE number = 2",
        "UPDATE audit SET time = '2020-01-01 00:00:00' WHERE number = 2",
        "DELETE FROM audit WHERE number = 2",
        "UPDATE audit SET number = 99 WHERE number = 2",
    ],
)
def test_an_entry_that_was_changed_or_taken_out_is_found(fleet: FakeFleet, edit: str) -> None:
    with fleet.server.database.writing() as session:
        for number in range(4):
            audit.note(session, "ann", "did", str(number))
    with fleet.server.database.reading() as session:
        assert audit.first_wrong(session) is None and audit.head(session)[0] == 4
    with fleet.server.database.writing() as session:
        session.execute(text(edit))
    with fleet.server.database.reading() as session:
        assert audit.first_wrong(session) == 2
