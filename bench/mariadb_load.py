"""One process of the load: connections that write and read rows, and check every answer.

Called by `mariadb.py` with one JSON argument; ends when its standard input does, and then writes its results as JSON.
Each connection keeps rows and accounts of its own, so that what must be there at the end is known to the client alone.
"""

from __future__ import annotations

import json
import random
import sys
import threading
import time
import zlib
from array import array
from dataclasses import asdict, dataclass, field
from typing import Any

from mariadb_server import client_on_path

ACCOUNTS, WEALTH = 8, 1000
SCHEMA = (
    "create database bank",
    "create table bank.note (owner int, seq int, body varbinary(512), sum int unsigned, primary key (owner, seq)) "
    "engine=innodb",
    "create table bank.account (owner int, number int, money int, primary key (owner, number)) engine=innodb",
)
_VERSIONS = frozenset({-1, -2, -3})


@dataclass
class Worker:
    """One connection. `times` holds pairs: when a query began (CLOCK_MONOTONIC, seconds) and how long it took."""

    owner: int
    rows: int = 0
    queries: int = 0
    failed: list[str] = field(default_factory=list)
    wrong: list[str] = field(default_factory=list)
    seen: dict[int, int] = field(default_factory=dict)
    times: array[float] = field(default_factory=lambda: array("d"))

    def work(self, connect: Any, stop: threading.Event) -> None:
        """Queries until told to stop. An error of the server or of the connection is noted, and ends the worker."""
        chance = random.Random(self.owner)
        bodies: list[bytes] = []
        try:
            link = connect()
            cursor = link.cursor()
            for number in range(ACCOUNTS):
                cursor.execute("insert into bank.account values (%s, %s, %s)", (self.owner, number, WEALTH))
            link.commit()
            while not stop.is_set():
                kind = chance.random()
                if kind < 0.35 or not bodies:
                    self._write(link, cursor, chance, bodies)
                elif kind < 0.8:
                    self._read(cursor, chance, bodies)
                elif kind < 0.9:
                    self._transfer(link, cursor, chance)
                else:
                    self._ask_version(cursor)
            self._final(cursor, bodies)
            link.close()
        except Exception as problem:  # what the client library raises is the finding
            self.failed.append(repr(problem))

    def _ask(self, cursor: Any, query: str, values: tuple[Any, ...] = ()) -> tuple[Any, ...]:
        began = time.monotonic()
        cursor.execute(query, values)
        rows = cursor.fetchall()
        self.times.extend((began, time.monotonic() - began))
        self.queries += 1
        return tuple(rows)

    def _check(self, is_right: bool, what: str) -> None:
        if not is_right:
            self.wrong.append(what)

    def _write(self, link: Any, cursor: Any, chance: random.Random, bodies: list[bytes]) -> None:
        body = chance.randbytes(chance.randrange(1, 400))
        self._ask(cursor, "insert into bank.note values (%s, %s, %s, crc32(%s))", (self.owner, len(bodies), body, body))
        link.commit()
        bodies.append(body)
        self.rows += 1

    def _read(self, cursor: Any, chance: random.Random, bodies: list[bytes]) -> None:
        first = chance.randrange(len(bodies))
        found = self._ask(
            cursor,
            "select seq, body, sum, crc32(body) from bank.note where owner = %s and seq between %s and %s order by seq",
            (self.owner, first, first + 9),
        )
        wanted = bodies[first : first + 10]
        right = [(first + n, body, zlib.crc32(body), zlib.crc32(body)) for n, body in enumerate(wanted)]
        self._check(list(found) == right, f"rows {first} to {first + 9}")

    def _transfer(self, link: Any, cursor: Any, chance: random.Random) -> None:
        giver, taker = chance.sample(range(ACCOUNTS), 2)
        money = chance.randrange(1, 50)
        change = "update bank.account set money = money + %s where owner = %s and number = %s"
        self._ask(cursor, change, (-money, self.owner, giver))
        self._ask(cursor, change, (money, self.owner, taker))
        if chance.random() < 0.2:
            link.rollback()
        else:
            link.commit()
        total = self._ask(cursor, "select sum(money) from bank.account where owner = %s", (self.owner,))
        self._check(int(total[0][0]) == ACCOUNTS * WEALTH, "the sum of the accounts")

    def _ask_version(self, cursor: Any) -> None:
        less, more, same = self._ask(cursor, "select strcmp('a', 'b'), strcmp('b', 'a'), strcmp('a', 'a')")[0]
        self._check(less in _VERSIONS and more in (1, 2, 3) and same == 0, f"strcmp {less} {more} {same}")
        self.seen[-less] = self.seen.get(-less, 0) + 1

    def _final(self, cursor: Any, bodies: list[bytes]) -> None:
        found = self._ask(cursor, "select seq, body, sum from bank.note where owner = %s order by seq", (self.owner,))
        right = tuple((n, body, zlib.crc32(body)) for n, body in enumerate(bodies))
        self._check(found == right, f"{len(found)} rows at the end, {len(right)} were written")


def main() -> None:
    settings = json.loads(sys.argv[1])
    from pathlib import Path

    client_on_path(Path(settings["client"]))
    import pymysql

    stop = threading.Event()
    workers = [Worker(owner) for owner in settings["owners"]]

    def connect() -> Any:
        return pymysql.connect(unix_socket=settings["socket"], user="root", charset="utf8mb4")

    threads = [threading.Thread(target=w.work, args=(connect, stop)) for w in workers]
    for thread in threads:
        thread.start()
    print("started", flush=True)
    sys.stdin.read()
    stop.set()
    for thread in threads:
        thread.join()
    json.dump([{**asdict(w), "times": list(w.times)} for w in workers], sys.stdout)


if __name__ == "__main__":
    main()
