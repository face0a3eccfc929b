"""The database: made, brought up to date, copied and put back."""

from __future__ import annotations

from pathlib import Path

import pytest
import sqlalchemy
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext

from suture.error import NotFound, Unsupported
from suture.fleet.backup import backup, restore
from suture.fleet.database import Database, NoDatabase, open_database
from suture.fleet.table import Base
from tests.fleet.conftest import FakeFleet


def test_the_migrations_make_what_the_tables_say(tmp_path: Path) -> None:
    with open_database(f"sqlite:///{tmp_path / 'new.sqlite'}").engine.connect() as connection:
        assert compare_metadata(MigrationContext.configure(connection), Base.metadata) == []


def test_a_copy_put_back_knows_what_the_original_knew_and_no_logins(fleet: FakeFleet, tmp_path: Path) -> None:
    host = fleet.host()
    fleet.person()
    copy, again = tmp_path / "copy", f"sqlite:///{tmp_path / 'again.sqlite'}"
    assert backup(fleet.server.database, copy) == copy.stat().st_size and copy.stat().st_mode & 0o777 == 0o600
    assert restore(copy, again, "test") == 1
    with open_database(again).reading() as session:
        assert session.execute(sqlalchemy.text("SELECT id FROM host")).scalar_one() == host.id
        assert session.execute(sqlalchemy.text("SELECT count(*) FROM login")).scalar_one() == 0
    with pytest.raises(FileExistsError):
        restore(copy, again, "test")
    with pytest.raises(FileExistsError):
        backup(fleet.server.database, copy)


def test_what_is_no_backup_is_refused(tmp_path: Path) -> None:
    (tmp_path / "text").write_text("text" * 1000)
    with pytest.raises(NotFound, match="no backup"):
        restore(tmp_path / "text", f"sqlite:///{tmp_path / 'new.sqlite'}", "test")
    assert not (tmp_path / "new.sqlite").exists()
    engine = sqlalchemy.create_engine("sqlite://")
    maker = sqlalchemy.orm.sessionmaker(engine)
    with pytest.raises(Unsupported):
        backup(Database("postgresql://db/fleet", engine, maker, maker), tmp_path / "copy")


def test_a_database_that_cannot_be_opened_is_told_without_its_password() -> None:
    with pytest.raises(NoDatabase) as problem:
        open_database("postgresql://ann:secret@127.0.0.1:1/fleet")
    assert "secret" not in problem.value.what
