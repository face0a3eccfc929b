"""The whole database as a file, and back."""

from __future__ import annotations

import errno
import os
import sqlite3
from contextlib import closing
from pathlib import Path

from sqlalchemy import delete, func, select

from suture.error import NotFound, Unsupported
from suture.fleet import audit
from suture.fleet.database import Database, open_database
from suture.fleet.table import HostRow, LoginRow

_PREFIX = "sqlite:///"


def backup(database: Database, to: Path) -> int:
    """The size in bytes. It is readable for its owner alone. Raises OSError, `Unsupported`."""
    place = _place(database.url)
    os.close(os.open(to, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600))
    with closing(sqlite3.connect(place)) as source, closing(sqlite3.connect(to)) as copy:
        source.backup(copy)
    return to.stat().st_size


def restore(copy: Path, url: str, who: str) -> int:
    """The number of hosts. Raises OSError, `NotFound` for no backup, `Unsupported`."""
    place = _place(url)
    if place.exists():
        raise FileExistsError(errno.EEXIST, os.strerror(errno.EEXIST), str(place))
    copy.stat()
    place.parent.mkdir(mode=0o750, parents=True, exist_ok=True)
    try:
        with closing(sqlite3.connect(f"{copy.absolute().as_uri()}?mode=ro", uri=True)) as source:
            source.execute("SELECT version_num FROM alembic_version").fetchone()
            with closing(sqlite3.connect(place)) as target:
                source.backup(target)
    except sqlite3.Error as problem:
        place.unlink(missing_ok=True)
        raise NotFound(f"{copy}: no backup of a fleet ({problem})", "give what suture fleet backup wrote") from problem
    with open_database(url).writing() as session:
        session.execute(delete(LoginRow))
        audit.note(session, who, "restored", str(copy))
        return session.scalar(select(func.count()).select_from(HostRow)) or 0


def _place(url: str) -> Path:
    if not url.startswith(_PREFIX):
        raise Unsupported("this is for SQLite", "for PostgreSQL use pg_dump and pg_restore")
    return Path(url.removeprefix(_PREFIX))
