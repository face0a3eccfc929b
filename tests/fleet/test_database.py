"""The database of both kinds: made, brought up to date from each schema that there was, and shared."""

from __future__ import annotations

import threading
from importlib.resources import files
from pathlib import Path

import pytest
import sqlalchemy
from alembic import command
from alembic.autogenerate import compare_metadata
from alembic.config import Config
from alembic.migration import MigrationContext
from alembic.script import ScriptDirectory

from suture.fleet import audit
from suture.fleet.database import Database, NoDatabase, open_database
from suture.fleet.table import Base, HostRow
from tests.fleet.postgresql import Postgresql

_CONFIG = Config()
_CONFIG.set_main_option("script_location", str(files("suture.fleet") / "migrations"))
_REVISIONS = [s.revision for s in ScriptDirectory.from_config(_CONFIG).walk_revisions()]
_OLD_HOST = """INSERT INTO host (id, name, "group", tags, classes, key, machine, boot_id, old_boots, address, kernel,
enrolled, last_seen, sequence, digest, open_holes, problems) VALUES ('a', 'web1', '', '[]', '[]', :key, '', '', '[]',
'', '', '2026-07-01 00:00:00', '2026-07-01 00:00:00', 7, '', 0, 0)"""


@pytest.fixture(params=["sqlite", pytest.param("postgresql", marks=pytest.mark.archive)])
def empty(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """The address of a database with nothing in it."""
    if request.param == "sqlite":
        return f"sqlite:///{tmp_path / 'fleet.sqlite'}"
    found: Postgresql = request.getfixturevalue("postgresql")
    return found.empty()


def difference(database: Database) -> list[object]:
    with database.engine.connect() as connection:
        return list(compare_metadata(MigrationContext.configure(connection), Base.metadata))


@pytest.mark.parametrize("revision", _REVISIONS)
def test_each_schema_that_there_was_becomes_that_of_now_with_what_is_in_it(empty: str, revision: str) -> None:
    old = open_database(empty, migrate=False)
    with old.engine.begin() as connection:
        _CONFIG.attributes["connection"] = connection
        command.upgrade(_CONFIG, revision)
        connection.execute(sqlalchemy.text(_OLD_HOST), {"key": b"k"})
    found = open_database(empty)
    assert difference(found) == []
    with found.writing() as session:
        row = session.get_one(HostRow, "a")
        assert (row.name, row.sequence) == ("web1", 7)
        row.sequence = 1 << 61


def test_servers_that_start_at_once_and_write_at_once_do_it_one_after_the_other(empty: str) -> None:
    problems: list[Exception] = []

    def work() -> None:
        try:
            database = open_database(empty)
            for _ in range(10):
                with database.writing() as session:
                    audit.note(session, "test", "written")
        except Exception as problem:
            problems.append(problem)

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert problems == []
    with open_database(empty).reading() as session:
        assert audit.first_wrong(session) is None and audit.head(session)[0] == 40


def test_a_text_that_no_column_takes_is_kept_as_one_that_it_does(empty: str) -> None:
    database, now = open_database(empty), sqlalchemy.func.now()
    with database.writing() as session:
        session.execute(sqlalchemy.text(_OLD_HOST), {"key": b"k"})
        session.get_one(HostRow, "a").name = "\0\ud800" + "x" * 300
    with database.reading() as session:
        assert session.get_one(HostRow, "a").name == ("\\x00\\ud800" + "x" * 300)[:255]
        assert session.scalar(sqlalchemy.select(now)) is not None


def test_a_database_that_cannot_be_opened_is_told_without_its_password() -> None:
    with pytest.raises(NoDatabase) as problem:
        open_database("postgresql://ann:secret@127.0.0.1:1/fleet")
    assert "secret" not in problem.value.what
