"""A fleet's server on one core with 1 GiB, and hosts that check in once a minute on the other. `bench/fleet_scale`
calls it."""

from __future__ import annotations

import argparse
import http.client
import json
import os
import re
import socket
import subprocess
import sys
import tempfile
import time
import urllib.parse
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import fleet_load
import psycopg
from facts import RESULTS, Start
from fleet_fill import EVERYWHERE, HOLES, fill
from fleet_page import COLUMNS, document, rows
from memory_group import MemoryGroup, forget_cached
from postgresql_server import Server, cluster
from target import NotMeasured

from suture.cli.output import print_json, print_table
from suture.fleet import account
from suture.fleet.database import Database, open_database
from suture.fleet.role import Role
from suture.fleet.server_key import server_key

_COMMAND = Path(sys.executable).with_name("suture")
_SERVER_CORE, _LOAD_CORE = 0, 1
_MEMORY = 1 << 30
_PASSWORD = "correct horse battery"
_MINUTE = 60.0
_PAGES = {
    "overview": "/",
    "hole": f"/holes/{EVERYWHERE}",
    "holes": "/holes",
    "hosts": "/hosts",
    "deadlines": "/deadlines",
}
_LOOKS = 7
_KINDS = ("sqlite", "postgresql", "two")
_FLOOD, _AT_A_TIME = 10_000, 32


def main(words: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(
        prog="bench/fleet_scale", description="A fleet's server on one core under hosts that check in each minute."
    )
    parser.add_argument(
        "--hosts", type=int, nargs="+", default=[1000, 10000, 100000], metavar="N", help="(1000 10000 100000)"
    )
    parser.add_argument("--seconds", type=float, default=20.0, metavar="N", help="of each of two laps (20)")
    parser.add_argument(
        "--database", nargs="+", choices=_KINDS, default=_KINDS,
        help="two: two servers on one PostgreSQL",
    )  # fmt: skip
    parser.add_argument("--add", action="store_true", help="to the runs that are kept; the same ones are made anew")
    parser.add_argument("--beside", default="", metavar="TEXT", help="what else ran on the machine, for the page")
    parser.add_argument("--json", action="store_true", help="print the raw numbers")
    parser.add_argument("--into", type=Path, default=RESULTS, metavar="DIR", help="where the raw numbers are kept")
    parser.add_argument("--page", type=Path, metavar="FILE", help="write the page too")
    args = parser.parse_args(words)
    start = Start.now("fleet_scale", words)
    os.sched_setaffinity(0, {_LOAD_CORE})
    runs: list[dict[str, Any]] = []
    if args.add:
        runs = json.loads((args.into / "fleet_scale.json").read_text())["data"]["runs"]
    for kind in args.database:
        for hosts in args.hosts:
            with _database(kind) as place:
                one = {"database": kind, **_measured(place, hosts, args.seconds, 2 if kind == "two" else 1)}
            runs = sorted([r for r in runs if _key(r) != _key(one)] + [one], key=_key)
            print(json.dumps(one), file=sys.stderr, flush=True)
            found = {"holes": HOLES, "beside": args.beside, "runs": runs}
            record = start.finish(found)
            path = record.write(args.into)  # what was measured so far
    if args.page:
        args.page.write_text(document(json.loads(path.read_text())))
    if args.json:
        print_json(record.data)
    else:
        print_table(COLUMNS, rows(record.data))
    return 0


def _key(run: Mapping[str, Any]) -> tuple[int, int]:
    return _KINDS.index(run["database"]), int(run["hosts"])


@dataclass(frozen=True)
class Place:
    """A database, the folder with its files, and the processes of its own server."""

    database: Database
    folder: Path
    pids: Callable[[], Sequence[int]]


def _measured(place: Place, hosts: int, seconds: float, servers: int) -> dict[str, Any]:
    begun, now, database = time.monotonic(), datetime.now(UTC), place.database
    fill(database, hosts, now)
    with database.writing() as session:
        account.add(session, "bench", "ann", _PASSWORD, Role.ADMIN, [])
        key = server_key(session).name
    found: dict[str, Any] = {"hosts": hosts, "fill_seconds": time.monotonic() - begun, "bytes": _size(database)}
    count = max(int(hosts / _MINUTE * seconds), 50)
    rate = count / seconds
    database.engine.dispose()
    with MemoryGroup(_MEMORY) as group, ExitStack() as ended:
        forget_cached(place.folder)
        for pid in place.pids():
            group.take(pid)
        running = [ended.enter_context(_served(group, database.url)) for _ in range(servers)]
        ports = [port for port, _ in running]
        found["first_count_seconds"] = _first_look(ports)
        for lap in ("first", "again"):
            messages = [fleet_load.message(key, number) for number in range(count)]
            cpu, busy = sum(_cpu_seconds(pid) for _, pid in running), _busy_seconds(_SERVER_CORE)
            lapped, own = time.monotonic(), time.process_time()
            outcome = fleet_load.run(ports, messages, rate)
            took = time.monotonic() - lapped
            found[lap] = {
                "sent": count, "failed": len(outcome.failed), "why": outcome.failed[:1], "wanted": outcome.wanted,
                "p50_us": outcome.at(0.5) * 1e6, "p99_us": outcome.at(0.99) * 1e6, "took_seconds": took,
                "cpu_share": (sum(_cpu_seconds(pid) for _, pid in running) - cpu) / took,
                "core_share": (_busy_seconds(_SERVER_CORE) - busy) / took,
                "load_cpu_share": (time.process_time() - own) / took,
            }  # fmt: skip
        messages = [fleet_load.message(key, number) for number in range(min(hosts, _FLOOD))]
        cpu, busy = sum(_cpu_seconds(pid) for _, pid in running), _busy_seconds(_SERVER_CORE)
        outcome, took = fleet_load.flood(ports, messages, _AT_A_TIME)
        found["most"] = {
            "sent": len(messages), "failed": len(outcome.failed), "took_seconds": took, "p50_us": outcome.at(0.5) * 1e6,
            "cpu_share": (sum(_cpu_seconds(pid) for _, pid in running) - cpu) / took,
            "core_share": (_busy_seconds(_SERVER_CORE) - busy) / took,
        }  # fmt: skip
        found["pages"] = _pages(ports[0])
        found["memory_bytes"] = max(_peak(pid) for _, pid in running)
        found["group_bytes"] = group.peak
    return found


def _first_look(ports: Sequence[int]) -> float:
    """Until every server has counted what is open, which it does as it starts: seconds."""
    begin = time.monotonic()
    for port in ports:
        _person(port)
    return time.monotonic() - begin


def _person(port: int) -> tuple[http.client.HTTPConnection, str]:
    """Somebody who has logged in and seen the overview: a connection and the cookie."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=300)
    form = urllib.parse.urlencode({"name": "ann", "password": _PASSWORD})
    connection.request("POST", "/login", form, {"Content-Type": "application/x-www-form-urlencoded"})
    answer = connection.getresponse()
    answer.read()
    cookie = re.match(r"[^;]+", answer.headers["Set-Cookie"])
    assert cookie
    _look(connection, cookie[0], "/")
    return connection, cookie[0]


def _look(connection: http.client.HTTPConnection, cookie: str, place: str) -> float:
    begin = time.monotonic()
    connection.request("GET", place, headers={"Cookie": cookie})
    answer = connection.getresponse()
    body = answer.read()
    if answer.status != 200 or b"<main" not in body:
        raise NotMeasured(f"{place}: status {answer.status}")
    return time.monotonic() - begin


def _pages(port: int) -> dict[str, list[float]]:
    """Seconds of each look at each page, by who has logged in."""
    connection, cookie = _person(port)
    return {name: [_look(connection, cookie, place) for _ in range(_LOOKS)] for name, place in _PAGES.items()}


@contextmanager
def _served(group: MemoryGroup, url: str) -> Iterator[tuple[int, int]]:
    """A server on its core and in its group; its port and its process."""
    with socket.create_server(("127.0.0.1", 0)) as probe:
        port = probe.getsockname()[1]
    own = group.command("taskset", "--cpu-list", str(_SERVER_CORE), str(_COMMAND))
    words = ["fleet", "serve", "--plain", "--insecure-cookies", "--listen", f"127.0.0.1:{port}", "--database", url]
    with subprocess.Popen([*own, *words], stdout=subprocess.PIPE, text=True) as process:
        try:
            assert process.stdout is not None
            if not process.stdout.readline().startswith("serving at "):
                raise NotMeasured("the server did not start")
            _await(port)
            yield port, process.pid
        finally:
            process.terminate()


def _await(port: int) -> None:
    for _ in range(600):
        try:
            socket.create_connection(("127.0.0.1", port), 1).close()
            return
        except OSError:
            time.sleep(0.05)
    raise NotMeasured("the server does not listen")


@contextmanager
def _database(kind: str) -> Iterator[Place]:
    pids: Callable[[], Sequence[int]]
    with ExitStack() as ended:
        if kind == "sqlite":
            folder = ended.enter_context(tempfile.TemporaryDirectory(dir="/var/tmp"))
            url, files, pids = f"sqlite:///{folder}/fleet.sqlite", Path(folder), _no_pids
        else:
            server = ended.enter_context(cluster(("-c", "max_connections=200", "-c", "shared_buffers=128MB"), print))
            subprocess.run(
                ["taskset", "--all-tasks", "--cpu-list", "--pid", str(_SERVER_CORE), str(server.postmaster)],
                check=True, stdout=subprocess.DEVNULL,
            )  # fmt: skip
            address = f"postgresql://postgres@/%s?host={server.talk}"
            with psycopg.connect(address % "postgres", autocommit=True) as connection:
                connection.execute("CREATE DATABASE fleet")
            url, files, pids = address % "fleet", Path(f"/proc/{server.first}/root/data/cluster"), _pids_of(server)
        database = open_database(url)
        ended.callback(database.engine.dispose)
        yield Place(database, files, pids)


def _no_pids() -> Sequence[int]:
    return ()


def _pids_of(server: Server) -> Callable[[], Sequence[int]]:
    return lambda: server.pids


def _size(database: Database) -> int:
    if database.is_sqlite:
        place = Path(database.url.removeprefix("sqlite:///"))
        return sum(p.stat().st_size for p in place.parent.glob("fleet.sqlite*"))
    with database.engine.connect() as connection:
        return int(connection.exec_driver_sql("SELECT pg_database_size(current_database())").scalar_one())


def _cpu_seconds(pid: int) -> float:
    words = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(words[11]) + int(words[12])) / os.sysconf("SC_CLK_TCK")


def _busy_seconds(core: int) -> float:
    """How long a core has worked, for whomever (proc_stat(5))."""
    line = next(x for x in Path("/proc/stat").read_text().splitlines() if x.startswith(f"cpu{core} "))
    user, nice, system, _, _, irq, softirq, steal, *_ = (int(x) for x in line.split()[1:])
    return (user + nice + system + irq + softirq + steal) / os.sysconf("SC_CLK_TCK")


def _peak(pid: int) -> int:
    found = re.search(r"^VmHWM:\s+(\d+) kB", Path(f"/proc/{pid}/status").read_text(), re.M)
    assert found
    return int(found[1]) * 1024


if __name__ == "__main__":
    sys.exit(main())
