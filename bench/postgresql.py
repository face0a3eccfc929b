"""A cluster of the archive's PostgreSQL under pgbench while live patches go in and out of all its processes.
`bench/postgresql` calls it.

A round: apply one fix in every process, replace it by several at once, revert; by the commands that a person would use.
No transaction may fail and no client may be cut off. Latency of every transaction comes from pgbench's own log.
"""

from __future__ import annotations

import argparse
import json
import os
import signal
import subprocess
import sys
import tempfile
import time
import tomllib
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from facts import RESULTS, Start
from postgresql_fixes import made, make_words
from postgresql_server import OLD, SOURCE, Server, Session, cluster
from summary import Spread
from target import NotMeasured

from suture.cli.output import print_json, print_table
from suture.error import ExitCode

_HERE = Path(__file__).resolve().parent
FIRST = "row-security-plan"
WHOLE = ("oidvector-dimensions", "row-security-plan")
_SCALE = 10
_LOG_SECONDS = 120.0
COLUMNS = ("phase", "transactions", "per second", "p50, ms", "p99, ms", "max, ms")


def main(words: Sequence[str] | None = None) -> int:
    """Exit code 1 when a transaction failed, a client was cut off, or a process was left out."""
    parser = argparse.ArgumentParser(
        prog="bench/postgresql", description="Patches in and out of a cluster under pgbench."
    )
    parser.add_argument("--rounds", type=int, default=20, metavar="N", help="rounds of apply, replace and revert (20)")
    parser.add_argument("--clients", type=int, default=32, metavar="N", help="connections of pgbench (32)")
    parser.add_argument(
        "--rate", type=int, default=200, metavar="N", help="transactions a second, at random moments (200)"
    )
    parser.add_argument("--seconds", type=float, default=20.0, metavar="S", help="of load before, with and after (20)")
    parser.add_argument("--json", action="store_true", help="print the raw numbers")
    parser.add_argument("--into", type=Path, default=RESULTS, metavar="DIR", help="where the raw numbers are kept")
    args = parser.parse_args(words)
    start = Start.now("postgresql", words)
    with tempfile.TemporaryDirectory() as name:
        first, whole = _patches(Path(name))
        with cluster(["-c", "max_connections=100", "-c", "shared_buffers=256MB"], _say) as server:
            data = _measure(server, first, whole, args)
    record = start.finish(data)
    record.write(args.into)
    if args.json:
        print_json(record.data)
    else:
        print_table(COLUMNS, rows(record.data))
        print_table(("what", "times", "seconds p50", "processes", "pause p50, us", "p99", "max"), stops(record.data))
    for fault in data["faults"]:
        _say(fault)
    return int(bool(data["faults"]))


def _say(text: str) -> None:
    print(f"postgresql: {text}", file=sys.stderr, flush=True)


def _patches(folder: Path) -> tuple[Path, Path]:
    """The patch of one fix, and one of several."""
    facts = tomllib.loads((_HERE / "postgresql_fixes.toml").read_text())
    found = []
    for names in ((FIRST,), WHOLE):
        words = [f"--source={SOURCE}={OLD}", "--file=postgres"]
        for name in names:
            words += [w for w in make_words(facts[name]) if w.startswith(("--fix", "--cve"))]
        answer, _ = made(words, folder / names[-1])
        found.append(Path(answer["patches"][0]["path"]))
    return found[0], found[1]


def _measure(server: Server, first: Path, whole: Path, args: argparse.Namespace) -> dict[str, Any]:
    prepare = server.command("pgbench", "--initialize", "--quiet", f"--scale={_SCALE}", "postgres")
    subprocess.run(prepare, check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    marks: dict[str, tuple[float, float]] = {}
    changes: list[dict[str, Any]] = []
    load = _Load(server, args.clients, args.rate)
    time.sleep(3)
    _phase(marks, "before", lambda: time.sleep(args.seconds))

    def rounds() -> None:
        for n in range(args.rounds):
            _say(f"round {n + 1} of {args.rounds}")
            changes.append(_change("apply", ["apply", str(first)]))
            changes.append(_change("replace", ["apply", str(whole), "--replace"]))
            changes.append(_change("revert", ["revert", str(whole)]))

    _phase(marks, "rounds of apply, replace, revert", rounds)
    changes.append(_change("apply", ["apply", str(whole)]))
    _phase(marks, "with the patch", lambda: time.sleep(args.seconds))
    with Session(server) as late:  # born of the postmaster after the patch went in
        inherited = late.ask("select array[]::oidvector::text")
    changes.append(_change("revert", ["revert", str(whole)]))
    _phase(marks, "after", lambda: time.sleep(args.seconds))
    said = server.log()  # before clients are cut off by our own ending of the load
    faults, transactions = load.end(marks["after"][1])
    faults += [f"{c['what']}: {f}" for c in changes for f in c["left_out"]]
    if "not a valid oidvector" not in inherited:
        faults.append(f"a later connection does not have the patch: {inherited}")
    faults += [line for line in said.splitlines() if any(w in line for w in ("PANIC", "terminated by signal", "FATAL"))]
    origin = marks["before"][0]
    return {
        "old": OLD, "clients": args.clients, "rate": args.rate,
        "rounds": args.rounds, "scale": _SCALE, "faults": faults,
        "phases": {n: [a - origin, b - origin] for n, (a, b) in marks.items()},
        "latency": {n: _spread(transactions, a, b) for n, (a, b) in marks.items()},
        "timeline": _timeline(transactions, origin), "changes": changes, "transactions": len(transactions),
    }  # fmt: skip


class _Load:
    """pgbench with its log in the folder that it shares with us."""

    def __init__(self, server: Server, clients: int, rate: int) -> None:
        self._folder = server.talk
        self._folder.chmod(0o777)
        words = [
            "--no-vacuum",
            f"--client={clients}",
            f"--rate={rate}",
            "--jobs=2",
            "--time=100000",
            "--log",
            "--log-prefix=/talk/latency",
            "postgres",
        ]
        self._server = server
        self._process = subprocess.Popen(
            server.command("pgbench", *words), stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
        )

    def end(self, until: float) -> tuple[list[str], list[tuple[float, float]]]:
        """Stop once the log has all that ended before `until` (seconds since the epoch); what went wrong, and (end in
        seconds since the epoch, milliseconds) of each transaction."""
        faults = []
        self._wait_for_log(until)
        if self._process.poll() is not None:
            faults.append(f"pgbench ended by itself: {self._process.communicate()[0][-1000:]}")
        else:
            # nsenter has a child, which is pgbench
            children = Path(f"/proc/{self._process.pid}/task/{self._process.pid}/children").read_text().split()
            for child in children:
                os.kill(int(child), signal.SIGTERM)
            said = self._process.communicate()[0]
            if "aborted" in said or "ERROR" in said:
                faults.append(f"pgbench: {said[-1000:]}")
        return faults, sorted(row for log in self._logs() for row in log)

    def _wait_for_log(self, until: float) -> None:
        """Each thread of pgbench writes its log in blocks of 4 KiB, and what it has not written ends with it."""
        limit = time.monotonic() + _LOG_SECONDS
        while self._process.poll() is None and not all(log and log[-1][0] >= until for log in self._logs()):
            if time.monotonic() > limit:
                raise NotMeasured(f"the log of pgbench was {_LOG_SECONDS:.0f} seconds behind")
            time.sleep(0.5)

    def _logs(self) -> list[list[tuple[float, float]]]:
        """The transactions of each thread, as far as they are written."""
        found = []
        for path in self._folder.glob("latency.*"):
            # client, transaction, microseconds, script, seconds, microseconds of the end (pgbench(1)); the last line
            # may be cut
            lines = [line.split() for line in path.read_text().splitlines()[:-1]]
            found.append([(int(x[4]) + int(x[5]) / 1e6, int(x[2]) / 1000) for x in lines if len(x) >= 6])
        return found


def _phase(marks: dict[str, tuple[float, float]], name: str, work: Callable[[], None]) -> None:
    _say(name)
    begin = time.time()
    work()
    marks[name] = (begin, time.time())


def _change(what: str, words: Sequence[str]) -> dict[str, Any]:
    """One `suture apply` or `revert` of the whole cluster, as a person would run it."""
    begin, at = time.monotonic(), time.time()
    command = [str(Path(sys.executable).with_name("suture")), *words, "--timeout=30", "--json"]
    done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=False)
    seconds = time.monotonic() - begin
    answer = json.loads(done.stdout)
    if "processes" not in answer:
        raise NotMeasured(f"suture {words[0]}: {answer.get('error')}")
    left_out = [f["error"] for f in answer["failed"] if f["exit_code"] != ExitCode.NO_PROCESS]
    left_out += [
        f"{g['name']}: {g['state']}: {g['why']['text'] if g['why'] else ''}"
        for p in answer["processes"]
        for g in p["groups"]
        if g["state"] != p["wanted"]
    ]
    pauses = [us for p in answer["processes"] for us in p["pauses_us"]]
    return {
        "what": what,
        "at": at,
        "seconds": seconds,
        "processes": len(answer["processes"]),
        "pauses_us": pauses,
        "left_out": left_out,
    }


def _spread(transactions: Sequence[tuple[float, float]], begin: float, end: float) -> dict[str, Any]:
    chosen = [ms for at, ms in transactions if begin <= at < end]
    s = Spread.of(chosen)
    return {"count": len(chosen), "seconds": end - begin, "p50": s.p50, "p99": s.p99, "max": s.most}


def _timeline(transactions: Sequence[tuple[float, float]], origin: float) -> list[list[float]]:
    """For each second: p50, p99 and the largest in milliseconds."""
    by_second: dict[int, list[float]] = {}
    for at, ms in transactions:
        by_second.setdefault(int(at - origin), []).append(ms)
    found = []
    for second, values in sorted(by_second.items()):
        s = Spread.of(values)
        found.append([second, round(s.p50, 3), round(s.p99, 3), round(s.most, 3)])
    return [f for f in found if f[0] >= 0]


def in_time(phases: Mapping[str, list[float]]) -> list[tuple[str, list[float]]]:
    """Phases with begin and end in seconds, the first first: the kept numbers have them by name."""
    return sorted(phases.items(), key=lambda p: p[1])


def rows(data: Mapping[str, Any]) -> list[list[str]]:
    """The table of latencies."""
    return [
        [
            name,
            f"{p['count']:,}",
            f"{p['count'] / p['seconds']:.0f}",
            f"{p['p50']:.2f}",
            f"{p['p99']:.2f}",
            f"{p['max']:.1f}",
        ]
        for name, p in ((n, data["latency"][n]) for n, _ in in_time(data["phases"]))
    ]


def stops(data: Mapping[str, Any]) -> list[list[str]]:
    """The table of changes."""
    found = []
    for what in ("apply", "replace", "revert"):
        mine = [c for c in data["changes"] if c["what"] == what]
        pauses = Spread.of([us for c in mine for us in c["pauses_us"]])
        seconds, processes = Spread.of([c["seconds"] for c in mine]), max(c["processes"] for c in mine)
        found.append([what, str(len(mine)), f"{seconds.p50:.2f}", str(processes), *pauses.cells()])
    return found


if __name__ == "__main__":
    sys.exit(main())
