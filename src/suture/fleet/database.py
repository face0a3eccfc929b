"""The server's database: SQLite by default, PostgreSQL by URL, which several servers may share. Its schema is brought
up to date by Alembic (`migrations/`).

Who writes is alone, whatever the database: SQLite has one writer at a time, and in PostgreSQL a writer holds an
advisory lock until its transaction ends. So a transaction that reads how things stand and then writes is one step, and
what two servers do at once they do one after the other. Who reads waits for nobody and sees one moment.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from importlib.resources import files
from typing import Any

import sqlalchemy
from alembic import command
from alembic.config import Config
from sqlalchemy import Engine, event
from sqlalchemy.orm import Session, sessionmaker

from suture.error import ExitCode, SutureError

_LOCK = int.from_bytes(b"sutureFL", "big")
_WAIT_SECONDS = 15
# A server whose machine is gone keeps the lock until PostgreSQL notices: a transaction that does nothing is ended.
_POSTGRESQL_OPTIONS = f"-c lock_timeout={_WAIT_SECONDS}s -c idle_in_transaction_session_timeout=30s"
_POSTGRESQL = {
    "connect_timeout": 10, "keepalives_idle": 10, "keepalives_interval": 5, "keepalives_count": 3,
    "options": _POSTGRESQL_OPTIONS,
}  # fmt: skip


class NoDatabase(SutureError):
    """The database cannot be opened."""

    exit_code = ExitCode.NOT_FOUND


@dataclass(frozen=True)
class Database:
    """Sessions of one database. A session of `writing` is committed where the block ends well."""

    url: str
    engine: Engine
    readers: sessionmaker[Session]
    writers: sessionmaker[Session]

    @contextmanager
    def reading(self) -> Iterator[Session]:
        with self.readers() as session:
            yield session

    @contextmanager
    def writing(self) -> Iterator[Session]:
        with self.writers.begin() as session:
            yield session

    @property
    def is_sqlite(self) -> bool:
        return self.engine.dialect.name == "sqlite"


def open_database(url: str, *, migrate: bool = True) -> Database:
    """Raises `NoDatabase`."""
    address = url.replace("postgresql://", "postgresql+psycopg://", 1)
    try:
        engine, reader = _sqlite(address) if address.startswith("sqlite") else _postgresql(address)
        writer = engine.execution_options(writes=True)
        readers = sessionmaker(reader, expire_on_commit=False)
        found = Database(url, engine, readers, sessionmaker(writer, expire_on_commit=False))
        if migrate:
            upgrade(found)
    except sqlalchemy.exc.SQLAlchemyError as problem:
        raise NoDatabase(
            f"database {_shown(url)}: {str(problem).splitlines()[0]}", "check its address, and that it may be written"
        ) from problem
    return found


def upgrade(database: Database) -> None:
    """Bring the schema up to date; of several servers that start at once, one does."""
    config = Config()
    config.set_main_option("script_location", str(files("suture.fleet") / "migrations"))
    with database.engine.execution_options(writes=True).begin() as connection:
        config.attributes["connection"] = connection
        command.upgrade(config, "head")


def _sqlite(address: str) -> tuple[Engine, Engine]:
    engine = sqlalchemy.create_engine(address, pool_pre_ping=True)
    event.listen(engine, "connect", _pragmas)
    event.listen(engine, "begin", _begin_immediate)
    return engine, engine


def _postgresql(address: str) -> tuple[Engine, Engine]:
    """For who writes and for who reads; both share their connections."""
    engine = sqlalchemy.create_engine(
        address, pool_pre_ping=True, pool_size=10, max_overflow=40, connect_args=_POSTGRESQL
    )
    event.listen(engine, "begin", _lock)
    return engine, engine.execution_options(isolation_level="REPEATABLE READ")


def _lock(connection: Any) -> None:
    if connection.get_execution_options().get("writes"):
        connection.exec_driver_sql(f"SELECT pg_advisory_xact_lock({_LOCK})")


def _pragmas(connection: Any, _record: Any) -> None:
    connection.isolation_level = None  # transactions begin where SQLAlchemy says so (_begin_immediate)
    for pragma in (
        "journal_mode = WAL",
        "synchronous = NORMAL",
        "foreign_keys = ON",
        f"busy_timeout = {_WAIT_SECONDS}000",
    ):
        connection.execute(f"PRAGMA {pragma}")


def _begin_immediate(connection: Any) -> None:
    connection.exec_driver_sql("BEGIN IMMEDIATE" if connection.get_execution_options().get("writes") else "BEGIN")


def _shown(url: str) -> str:
    try:
        return sqlalchemy.engine.make_url(url).render_as_string(hide_password=True)
    except sqlalchemy.exc.ArgumentError:
        return "of this address"
