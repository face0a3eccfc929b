"""What people do today against a live patch: a service restarted after an upgrade, and the same service patched.
`bench/restart` calls it.

Clients ask at fixed moments over kept connections; a lost connection is made anew at once and the request asked again.
Each way is taken in turn, round by round: nothing at all (the floor), `suture apply`, nginx's upgrade on the fly, a
restart.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
import time
import tomllib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import postgresql_fixes
import restart_services as services
from facts import RESULTS, Start
from restart_page import COLUMNS, document, rows
from steady_load import SteadyLoad, Window
from target import NotMeasured
from tls_service import Programs

from suture.cli.output import print_json, print_table

_HERE = Path(__file__).resolve().parent
OLD, NEW = "3.0.17-1~deb12u2", "3.0.20-1~deb12u2"
_PAGE = _HERE.parent / "docs/results/restart.md"
_SETTLE = 1.0  # seconds of load before a way is taken; after it there are twice as many
_FLOOR = "nothing"
_APPLY = "suture apply"


def main(words: Sequence[str] | None = None) -> int:
    """Exit code 1 when a request failed or a connection was lost although nobody restarted anything."""
    parser = argparse.ArgumentParser(
        prog="bench/restart", description="A restart after an upgrade against a live patch: what clients notice."
    )
    parser.add_argument("--only", choices=["nginx", "postgresql"], help="one service (default: both)")
    parser.add_argument("--rounds", type=int, default=10, metavar="N", help="of all ways in turn (10)")
    parser.add_argument("--clients", type=int, default=8, metavar="N", help="connections (8)")
    parser.add_argument("--rate", type=float, default=20.0, metavar="N", help="requests a second of each client (20)")
    parser.add_argument("--json", action="store_true", help="print the raw numbers")
    parser.add_argument("--into", type=Path, default=RESULTS, metavar="DIR", help="where the raw numbers are kept")
    parser.add_argument(
        "--page", type=Path, metavar="FILE", help="the page to write (default: docs/results/restart.md)"
    )
    args = parser.parse_args(words)
    start = Start.now("restart", words)
    data: dict[str, Any] = {"rounds": args.rounds, "clients": args.clients, "rate": args.rate, "services": {}}
    with tempfile.TemporaryDirectory() as name:
        if args.only in (None, "nginx"):
            data["services"]["nginx"] = _nginx(Path(name), args)
        if args.only in (None, "postgresql"):
            data["services"]["PostgreSQL"] = _postgresql(Path(name), args)
    record = start.finish(data)
    record.write(args.into)
    page = args.page or (_PAGE if args.into == RESULTS else args.into / "restart.md")
    page.write_text(document(asdict(record)))
    if args.json:
        print_json(record.data)
    else:
        print_table(COLUMNS, rows(record.data))
    quiet = [w for s in data["services"].values() for n in (_FLOOR, _APPLY) for w in s["ways"][n]]
    return int(any(w["failed"] or w["lost"] for w in quiet))


def _nginx(folder: Path, args: argparse.Namespace) -> dict[str, Any]:
    words = tomllib.loads((_HERE / "making.toml").read_text())["openssl"]["words"]
    patch = _patch([*words, "--file=libcrypto.so.3"], folder / "nginx")
    _say("fetching nginx")
    with services.nginx(Programs.fetch(OLD, _say), Programs.fetch(NEW, _say)) as service:
        more = {"upgrade on the fly": service.on_the_fly, "restart": service.restart}
        return _measure(service, patch, more, args)


def _postgresql(folder: Path, args: argparse.Namespace) -> dict[str, Any]:
    fix = tomllib.loads((_HERE / "postgresql_fixes.toml").read_text())["row-security-plan"]
    patch = _patch([*postgresql_fixes.make_words(fix), "--file=postgres"], folder / "postgresql")
    with services.postgresql(_say) as service:
        return _measure(service, patch, {"restart": service.restart}, args)


def _patch(words: Sequence[str], folder: Path) -> str:
    _say("making the live patch")
    answer, _ = postgresql_fixes.made(words, folder)
    return str(answer["patches"][0]["path"])


def _measure(
    service: services.Nginx | services.PostgreSql,
    patch: str,
    more: Mapping[str, Callable[[], None]],
    args: argparse.Namespace,
) -> dict[str, Any]:
    ways: dict[str, Callable[[], None]] = {
        _FLOOR: lambda: None,
        _APPLY: lambda: _suture("apply", patch, *map(str, service.pids)),
        **more,
    }
    found: dict[str, list[dict[str, Any]]] = {name: [] for name in ways}
    for n in range(args.rounds):
        for name, way in ways.items():
            _say(f"{service.name}, round {n + 1} of {args.rounds}: {name}")
            with SteadyLoad(service.connect, args.clients, args.rate) as load:
                time.sleep(_SETTLE)
                begin = time.monotonic()
                way()
                seconds = time.monotonic() - begin
                time.sleep(2 * _SETTLE)
                end = time.monotonic() - _SETTLE / 2  # what is asked later may have no answer yet
                time.sleep(_SETTLE / 2)
            found[name].append({**asdict(Window.of(begin, end, load.requests)), "seconds": seconds})
            if name == _APPLY:
                _suture("revert", patch, *map(str, service.pids))
            elif name != _FLOOR:
                if not service.has_new():
                    raise NotMeasured(f"{service.name}: after '{name}' a process runs the old library")
                service.again()
    return {"ways": found}


def _suture(*words: str) -> None:
    """A command as a person would run it. Raises NotMeasured when it does not do all of its work."""
    command = [str(Path(sys.executable).with_name("suture")), *words, "--timeout=30", "--json"]
    done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=False)
    if done.returncode:
        raise NotMeasured(f"suture {words[0]}: {json.loads(done.stdout).get('error', done.stdout[-500:])}")


def _say(text: str) -> None:
    print(f"restart: {text}", file=sys.stderr, flush=True)


if __name__ == "__main__":
    sys.exit(main())
