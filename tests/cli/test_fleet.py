"""`suture fleet` through the command, and the server that it serves."""

from __future__ import annotations

import json
import socket
import subprocess
import threading
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

from sqlalchemy.orm import Session

from suture.error import ExitCode
from suture.fleet.database import open_database
from suture.fleet.table import AuditRow, HoleRow, HostRow, SpanRow
from tests.cli.test_feed import run, said
from tests.command import SUTURE
from tests.comply.test_catalogue import KEV


@contextmanager
def serving(database: str, *more: str) -> Iterator[str]:
    """A server in a process of its own; its address."""
    with socket.create_server(("127.0.0.1", 0)) as probe:
        port = probe.getsockname()[1]
    words = [SUTURE, "fleet", "serve", "--plain", "--insecure-cookies", "--listen", f"127.0.0.1:{port}"]
    with subprocess.Popen(
        [*map(str, words), "--database", database, *more], stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout is not None and process.stdout.readline().startswith("serving at ")
        url = f"http://127.0.0.1:{port}"
        try:
            _wait(url)
            yield url
        finally:
            process.terminate()


def _wait(url: str) -> None:
    for _ in range(200):
        try:
            urllib.request.urlopen(f"{url}/login", timeout=5).close()
            return
        except OSError:
            import time

            time.sleep(0.05)
    raise AssertionError("the server does not answer")


def test_what_an_administrator_types(tmp_path: Path) -> None:
    place = ("--database", f"sqlite:///{tmp_path / 'fleet.sqlite'}")
    (tmp_path / "password").write_text("correct horse battery\n")
    run("fleet", "user", "ann", "--role", "admin", "--password-file", tmp_path / "password", *place)
    assert [a["role"] for a in run("fleet", "user", "--list", *place)["accounts"]] == ["admin"]
    assert "new password" in said("fleet", "user", "ann", "--password-file", tmp_path / "password", *place)
    assert len(said("fleet", "token", "--label", "web", *place).strip()) == 32
    assert len(run("fleet", "api-token", "--name", "monitoring", *place)["secret"]) == 43
    assert len(run("fleet", "key", *place)["notes"][0]) == 64
    (tmp_path / "kev.json").write_text(json.dumps(KEV))
    (source,) = run("fleet", "import", "--kev", tmp_path / "kev.json", *place)["sources"]
    assert (source["name"], source["version"]) == ("CISA KEV", "2024.06.01")
    assert run("fleet", "hosts", *place)["total"] == 0 and run("fleet", "holes", *place)["total"] == 0
    assert run("fleet", "rollout", *place)["rollouts"] == []
    wrong = run("fleet", "rollout", "--begin", "0123456789abcdef", *place, code=ExitCode.NOT_FOUND)
    assert "no host has told of a patch" in wrong["error"]
    assert "5 entries are whole" in said("fleet", "audit", *place)
    run("fleet", "backup", tmp_path / "copy", *place)
    other = ("--database", f"sqlite:///{tmp_path / 'other.sqlite'}")
    assert run("fleet", "restore", tmp_path / "copy", *other)["notes"] == ["0 hosts are known"]
    run("fleet", "restore", tmp_path / "copy", *other, code=ExitCode.NOT_FOUND)


def test_a_waiting_host_is_let_in_and_described_from_the_shell(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path / 'fleet.sqlite'}"
    place = ("--database", url)
    with serving(url) as server:
        words = [SUTURE, "agent", "enrol", "--url", server, "--state", tmp_path / "state"]
        with subprocess.Popen([*map(str, words)], stdout=subprocess.PIPE, text=True) as waits:
            assert waits.stdout is not None
            line = waits.stdout.readline()
            (row,) = run("fleet", "waiting", *place)["waiting"]
            assert row["fingerprint"] in line and row["address"] == "127.0.0.1"
            assert row["fingerprint"] in said("fleet", "waiting", *place)
            run("fleet", "waiting", "--let-in", "0000", *place, code=ExitCode.NOT_FOUND)
            run("fleet", "waiting", "--group", "web", *place, code=ExitCode.USAGE)
            assert run("fleet", "waiting", "--let-in", row["fingerprint"], "--group", "web", *place)["waiting"] == []
            assert waits.stdout.readline().startswith("enrolled as ") and waits.wait(30) == 0
    (host,) = run("fleet", "hosts", *place)["hosts"]
    assert (host["group"], host["tags"], host["exposed"]) == ("web", [], None)
    (host,) = run("fleet", "describe", host["name"], "--tags", "canary", "x", "--exposed", "yes", *place)["hosts"]
    assert (host["group"], host["tags"], host["exposed"]) == ("web", ["canary", "x"], True)
    (host,) = run("fleet", "describe", host["id"], "--tags", "--group", "db", *place)["hosts"]
    assert (host["group"], host["tags"], host["exposed"]) == ("db", [], True)
    assert "reached from the internet: no" in said("fleet", "describe", host["id"], "--exposed", "no", *place)
    run("fleet", "describe", host["id"], *place, code=ExitCode.USAGE)
    run("fleet", "describe", "another", "--tags", "a", *place, code=ExitCode.NOT_FOUND)
    run("agent", "enrol", "--url", "http://127.0.0.1:1", "--state", tmp_path / "state", code=ExitCode.USAGE)


def test_a_key_that_was_turned_away_from_the_shell_stays_out(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path / 'fleet.sqlite'}"
    with serving(url) as server:
        words = [SUTURE, "agent", "enrol", "--url", server, "--state", tmp_path / "state"]
        with subprocess.Popen([*map(str, words)], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as waits:
            assert waits.stdout is not None
            waits.stdout.readline()
            (row,) = run("fleet", "waiting", "--database", url)["waiting"]
            assert run("fleet", "waiting", "--turn-away", row["fingerprint"], "--database", url)["waiting"] == []
            assert waits.wait(30) == ExitCode.REFUSED


def test_a_server_without_a_certificate_says_so(tmp_path: Path) -> None:
    wrong = run("fleet", "serve", "--database", f"sqlite:///{tmp_path / 'f'}", code=ExitCode.USAGE)
    assert "--certificate" in wrong["remedy"]
    open_door = ("fleet", "serve", "--plain", "--listen", "0.0.0.0:8443")
    assert "passwords" in run(*open_door, "--database", f"sqlite:///{tmp_path / 'f'}", code=ExitCode.USAGE)["error"]


def test_it_serves(tmp_path: Path) -> None:
    with serving(f"sqlite:///{tmp_path / 'fleet.sqlite'}") as url, urllib.request.urlopen(f"{url}/login") as answer:
        assert b"Log in" in answer.read() and "server" not in {k.lower() for k in answer.headers}


def test_data_comes_from_files_and_addresses_and_what_was_taken_back_is_told(tmp_path: Path) -> None:
    from tests.comply.test_catalogue import EPSS

    url = f"sqlite:///{tmp_path / 'fleet.sqlite'}"
    place = ("--database", url)
    debian = {"linux": {"CVE-2024-1086": {"releases": {"bookworm": {"status": "open", "urgency": "high"}}}}}
    files = {"kev.json": KEV, "debian.json": debian, "2024/1xxx/CVE-2024-1086.json": {
        "cveMetadata": {"cveId": "CVE-2024-1086", "datePublished": "2024-01-31T12:14:34Z"}, "containers": {"cna": {}},
    }}  # fmt: skip
    for name, value in files.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(json.dumps(value))
    (tmp_path / "epss.csv").write_bytes(EPSS)
    handler = partial(SimpleHTTPRequestHandler, directory=str(tmp_path))
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        base = f"http://127.0.0.1:{server.server_port}"
        run("fleet", "import", "--kev", f"{base}/kev.json", *place)
        with open_database(url).writing() as session:
            _a_host_with(session, "CVE-2024-1086", "CVE-2020-0001")
        given = ("--epss", tmp_path / "epss.csv", "--debian", f"{base}/debian.json", "--cve", base)
        found = run("fleet", "import", *given, *place)["sources"]
        assert {s["name"]: s["rows"] for s in found} == {
            "CISA KEV": 1, "CVE records": 1, "Debian security tracker": 1, "EPSS": 1,
        }  # fmt: skip
        run("fleet", "import", "--kev", f"{base}/nothing.json", *place, code=ExitCode.NOT_FOUND)
        server.shutdown()
    wrong = run("fleet", "import", "--kev", "http://cisa.example/kev.json", *place, code=ExitCode.USAGE)
    assert "https://" in wrong["remedy"]
    with open_database(url).reading() as session:
        row = session.get_one(HoleRow, "CVE-2024-1086")
        assert (row.epss, row.debian, row.in_kev) == (0.84712, ["linux: bookworm open (high)"], True)
        assert row.disclosed is not None and row.kev_removed is None
    (tmp_path / "kev.json").write_text(json.dumps({**KEV, "vulnerabilities": []}))
    run("fleet", "import", "--kev", tmp_path / "kev.json", *place)
    with open_database(url).reading() as session:
        row = session.get_one(HoleRow, "CVE-2024-1086")
        assert row.in_kev is False and row.kev_removed is not None
        assert "taken back by CISA" in {r.what for r in session.query(AuditRow)}


def _a_host_with(session: Session, *cves: str) -> None:
    now = datetime.now(UTC)
    session.add(
        HostRow(id="a", name="a", group="", tags=[], classes=[], key=b"", old_boots=[], enrolled=now, last_seen=now)
    )
    session.flush()
    for cve in cves:
        session.merge(HoleRow(cve=cve, first_seen=now))
        session.flush()
        session.add(SpanRow(host="a", cve=cve, state="open", seen=now, since=now))
