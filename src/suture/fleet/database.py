"""The server's database: SQLite by default, PostgreSQL by URL. Its schema is brought up to date by Alembic
(`migrations/`)."""

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
        engine = sqlalchemy.create_engine(address, pool_pre_ping=True)
        if engine.dialect.name == "sqlite":
            event.listen(engine, "connect", _pragmas)
            event.listen(engine, "begin", _begin_immediate)
        writer = engine.execution_options(writes=True)
        readers = sessionmaker(engine, expire_on_commit=False)
        found = Database(url, engine, readers, sessionmaker(writer, expire_on_commit=False))
        if migrate:
            upgrade(found)
    except sqlalchemy.exc.SQLAlchemyError as problem:
        raise NoDatabase(
            f"database {_shown(url)}: {str(problem).splitlines()[0]}", "check its address, and that it may be written"
        ) from problem
    return found


def upgrade(database: Database) -> None:
    """Bring the schema up to date."""
    config = Config()
    config.set_main_option("script_location", str(files("suture.fleet") / "migrations"))
    with database.engine.begin() as connection:
        config.attributes["connection"] = connection
        command.upgrade(config, "head")


def _pragmas(connection: Any, _record: Any) -> None:
    connection.isolation_level = None  # transactions begin where SQLAlchemy says so (_begin_immediate)
    for pragma in ("journal_mode = WAL", "synchronous = NORMAL", "foreign_keys = ON", "busy_timeout = 15000"):
        connection.execute(f"PRAGMA {pragma}")


def _begin_immediate(connection: Any) -> None:
    connection.exec_driver_sql("BEGIN IMMEDIATE" if connection.get_execution_options().get("writes") else "BEGIN")


def _shown(url: str) -> str:
    try:
        return sqlalchemy.engine.make_url(url).render_as_string(hide_password=True)
    except sqlalchemy.exc.ArgumentError:
        return "of this address"
