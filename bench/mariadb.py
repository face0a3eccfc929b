"""Patches come and go in the archive's MariaDB server under a load that checks every answer. `bench/mariadb` calls it.

A round is: apply version 2, replace it by version 3, revert. Before the rounds the load runs as long without any patch,
behind them with version 3 in force. No query may fail, no row be lost.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
import time
from array import array
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from facts import RESULTS, Start
from mariadb_load import SCHEMA
from mariadb_page import document, plot, rows
from mariadb_server import Installed, Server, client_on_path, install, running
from summary import Spread
from target import NotMeasured

from suture.cli.output import print_json, print_table
from suture.patch.file import PatchFile, read_patch
from suture.process.change.apply import apply
from suture.process.change.result import Result
from suture.process.change.revert import revert

VERSION = "1:10.11.18-0+deb12u1"
_HERE = Path(__file__).resolve().parent
_PAGE = _HERE.parent / "docs/results/mariadb.md"
_LONG_ENOUGH = 60.0
_BUCKET = 0.25


@dataclass
class Phase:
    """A stretch of the run; latencies in microseconds."""

    name: str
    begin: float
    end: float = 0.0
    queries: int = 0
    latency_us: dict[str, float] = field(default_factory=dict)


@dataclass
class Load:
    """What the client saw."""

    connections: int = 0
    queries: int = 0
    rows_written: int = 0
    failed: list[str] = field(default_factory=list)
    wrong: list[str] = field(default_factory=list)
    seen: dict[str, int] = field(default_factory=dict)


def main(words: Sequence[str] | None = None) -> int:
    """Exit code 1 when a query failed, an answer was wrong, or a row was lost."""
    parser = argparse.ArgumentParser(
        prog="bench/mariadb", description="Apply, replace and revert in MariaDB under load, with every answer checked."
    )
    parser.add_argument("--rounds", type=int, default=20, metavar="N", help="rounds of apply, replace, revert (20)")
    parser.add_argument("--connections", type=int, default=64, metavar="N", help="connections of the client (64)")
    parser.add_argument("--processes", type=int, default=4, metavar="N", help="processes that they belong to (4)")
    parser.add_argument("--seconds", type=float, default=30.0, metavar="S", help="each phase without rounds (30)")
    parser.add_argument("--json", action="store_true", help="print the raw numbers")
    parser.add_argument("--into", type=Path, default=RESULTS, metavar="DIR", help="where the raw numbers are kept")
    parser.add_argument("--page", type=Path, default=_PAGE, metavar="FILE", help="the page (docs/results/mariadb.md)")
    parser.add_argument("--rewrite", action="store_true", help="write the page from the kept numbers, measure nothing")
    args = parser.parse_args(words)
    if args.rewrite:
        _write_page(json.loads((args.into / "mariadb.json").read_text()), args.page)
        return 0
    start = Start.now("mariadb", words)
    installed = install(VERSION, _say)
    with tempfile.TemporaryDirectory() as name:
        made, patches = _patches(Path(name))
        data = _measure(installed, patches, args, Path(name))
    data["made"] = made
    data["client"] = f"PyMySQL {installed.client_version}"
    data["server"] = VERSION
    record = start.finish(data)
    record.write(args.into)
    _write_page(asdict(record), args.page)
    if args.json:
        print_json(record.data)
    else:
        print_table(("what", "value"), rows(data))
    return int(bool(data["load"]["failed"] or data["load"]["wrong"]))


def _write_page(record: dict[str, Any], page: Path) -> None:
    page.write_text(document(record))
    page.with_name(f"{page.stem}-latency.svg").write_text(plot(record["data"]))


def _patches(folder: Path) -> tuple[list[dict[str, Any]], list[PatchFile]]:
    """The two versions, made now; what `suture make` says of them. Raises NotMeasured when a part is refused."""
    told, patches = [], []
    for number in (2, 3):
        into = folder / f"patch{number}"
        fix = _HERE / "fixes" / f"mariadb-measure-{number}.patch"
        command = [
            "make",
            "--source",
            f"mariadb={VERSION}",
            "--fix",
            str(fix),
            "--output",
            str(into),
            "--json",
        ]
        done = subprocess.run([sys.executable, "-m", "suture.cli", *command], stdout=subprocess.PIPE, check=False)
        if done.returncode:
            raise NotMeasured(f"suture make ended with {done.returncode}: {done.stdout.decode()[-2000:]}")
        answer = json.loads(done.stdout)
        path = next(into.glob("*.suture.o"))
        patch = read_patch(path)
        told.append(
            {
                "fix": fix.name,
                "id": patch.id,
                "seconds": answer["seconds"],
                "functions": [f.name for f in patch.manifest.functions],
                "groups": len(patch.manifest.groups),
                "exceptions": patch.manifest.exceptions,
            }
        )
        patches.append(patch)
    return told, patches


def _measure(
    installed: Installed, patches: Sequence[PatchFile], args: argparse.Namespace, folder: Path
) -> dict[str, Any]:
    base = folder / "server"
    base.mkdir()
    phases: list[Phase] = []
    changes: list[dict[str, Any]] = []

    @contextmanager
    def phase(name: str) -> Iterator[None]:
        _say(name)
        one = Phase(name, time.monotonic())
        phases.append(one)
        yield
        one.end = time.monotonic()

    with running(installed, base, args.connections) as server:
        _create(installed, server)
        with _loading(installed, server, args.connections, args.processes) as finish:
            time.sleep(2)
            with phase("without a patch"):
                time.sleep(args.seconds)
            with phase("rounds of apply, replace, revert"):
                for _ in range(args.rounds):
                    changes.append(_change("apply", apply(server.pid, patches[0], timeout=_LONG_ENOUGH)))
                    time.sleep(0.2)
                    last = apply(server.pid, patches[1], timeout=_LONG_ENOUGH, replace=True)
                    changes.append(_change("replace", last))
                    time.sleep(0.2)
                    changes.append(_change("revert", revert(server.pid, patches[1].id, timeout=_LONG_ENOUGH)))
                    time.sleep(0.2)
            _change("apply", apply(server.pid, patches[1], timeout=_LONG_ENOUGH))
            with phase("with a patch in force"):
                time.sleep(args.seconds)
            workers = finish()
    times = _times(workers)
    for one in phases:
        inside = [took * 1e6 for began, took in times if one.begin <= began < one.end]
        one.queries = len(inside)
        if inside:
            one.latency_us = asdict(Spread.of(inside))
    load = _load_of(workers)
    return {
        "load": asdict(load),
        "phases": [asdict(p) for p in phases],
        "changes": changes,
        "rounds": args.rounds,
        "timeline": _timeline(times, phases),
    }


def _create(installed: Installed, server: Server) -> None:
    client_on_path(installed.client)
    import pymysql

    link = pymysql.connect(unix_socket=str(server.socket), user="root")
    with link.cursor() as cursor:
        for statement in SCHEMA:
            cursor.execute(statement)
    link.close()


@contextmanager
def _loading(installed: Installed, server: Server, connections: int, processes: int) -> Iterator[Any]:
    """The load; what it gives is called once to end it and returns what each connection saw."""
    children = []
    for number in range(processes):
        owners = list(range(number, connections, processes))
        settings = {"client": str(installed.client), "socket": str(server.socket), "owners": owners}
        command = [sys.executable, str(_HERE / "mariadb_load.py"), json.dumps(settings)]
        children.append(subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE))
    try:
        for child in children:
            assert child.stdout is not None
            child.stdout.readline()

        def finish() -> list[dict[str, Any]]:
            for child in children:
                assert child.stdin is not None
                child.stdin.close()
            found: list[dict[str, Any]] = []
            for child in children:
                assert child.stdout is not None
                found += json.loads(child.stdout.read())
                child.wait()
            return found

        yield finish
    finally:
        for child in children:
            if child.poll() is None:
                child.kill()
                child.wait()


def _change(what: str, result: Result) -> dict[str, Any]:
    """Raises NotMeasured when a group was left out."""
    if result.exit_code:
        raise NotMeasured("; ".join(f"{g.name} is {g.state.value}: {g.why}" for g in result.groups))
    return {
        "what": what,
        "at": time.monotonic(),
        "pauses_us": list(result.pauses_us),
        "threads": result.threads,
        "seconds": result.seconds,
    }


def _times(workers: Sequence[dict[str, Any]]) -> list[tuple[float, float]]:
    found = []
    for worker in workers:
        pairs = array("d", worker["times"])
        found += list(zip(pairs[0::2], pairs[1::2], strict=True))
    return sorted(found)


def _load_of(workers: Sequence[dict[str, Any]]) -> Load:
    load = Load(len(workers))
    for worker in workers:
        load.queries += worker["queries"]
        load.rows_written += worker["rows"]
        load.failed += worker["failed"]
        load.wrong += worker["wrong"]
        for version, count in worker["seen"].items():
            load.seen[version] = load.seen.get(version, 0) + count
    return load


def _say(step: str) -> None:
    print(f"{step} ...", file=sys.stderr, flush=True)


def _timeline(times: Sequence[tuple[float, float]], phases: Sequence[Phase]) -> list[dict[str, float]]:
    """Latencies of each quarter of a second, in microseconds; `at` counts from the start of the first phase."""
    if not phases:
        return []
    origin = phases[0].begin
    buckets: dict[int, list[float]] = {}
    for began, took in times:
        if origin <= began < phases[-1].end:
            buckets.setdefault(int((began - origin) / _BUCKET), []).append(took * 1e6)
    return [{"at": n * _BUCKET, **asdict(Spread.of(b)), "queries": len(b)} for n, b in sorted(buckets.items())]


if __name__ == "__main__":
    sys.exit(main())
