"""The archive's PostgreSQL for tests, with a database for each."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import count
from pathlib import Path

import psycopg

from suture.fleet.database import open_database

_BENCH = Path(__file__).resolve().parents[2] / "bench"
_QUICK = ("-c", "fsync=off", "-c", "max_connections=200")
_NUMBERS = count(1)


@dataclass(frozen=True)
class Postgresql:
    """A server that is reached by a socket in `folder`."""

    folder: Path

    def url(self, name: str) -> str:
        return f"postgresql://postgres@/{name}?host={self.folder}"

    def empty(self) -> str:
        """The address of a new database with nothing in it."""
        name = f"fleet{next(_NUMBERS)}"
        self._do(f"CREATE DATABASE {name}")
        return self.url(name)

    def new(self) -> str:
        """The address of a new database with the schema of now, made as a copy of the first."""
        name = f"fleet{next(_NUMBERS)}"
        self._do(f"CREATE DATABASE {name} TEMPLATE template_fleet")
        return self.url(name)

    def make_template(self) -> None:
        self._do("CREATE DATABASE template_fleet")
        open_database(self.url("template_fleet")).engine.dispose()

    def _do(self, statement: str) -> None:
        with psycopg.connect(self.url("postgres"), autocommit=True) as connection:
            connection.execute(statement.encode())


@contextmanager
def started() -> Iterator[Postgresql]:
    """The server runs as long as the context lasts."""
    sys.path.insert(0, str(_BENCH))
    try:
        from postgresql_server import cluster
    finally:
        sys.path.remove(str(_BENCH))
    with cluster(_QUICK, lambda text: None) as server:
        found = Postgresql(server.talk)
        found.make_template()
        yield found
