"""The database, copied and put back."""

from __future__ import annotations

from pathlib import Path

import pytest
import sqlalchemy

from suture.error import NotFound, Unsupported
from suture.fleet.backup import backup, restore
from suture.fleet.database import Database, open_database
from tests.fleet.conftest import FakeFleet


@pytest.mark.parametrize("url", ["sqlite"], indirect=True)
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
