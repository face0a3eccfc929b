"""Events on their way from the part that reads processes to who wants them: journal, log, Prometheus, webhook."""

from __future__ import annotations

import http.server
import json
import subprocess
import threading
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from suture.agent import attempts
from suture.agent.attempts import LOG, METRICS, AttemptLog, AttemptReader
from suture.host.attempts import _host
from suture.report.attempt import TrippedWire
from suture.report.document import AttemptReport
from suture.report.encoding import decode
from suture.report.process import Process
from suture.report.webhook import HEADER, signature
from tests.command import SUTURE, suture
from tests.tripwire.conftest import LIMIT, build

WIRE = TrippedWire("0123", "libx.so.1", "libx1", "1-1", "x.c", 12, "f", "n > 9", ("CVE-2099-0001",))


def event(count: int = 1, program: str = "/usr/sbin/nginx") -> AttemptReport:
    process = Process(1, 2, "nginx", program, "nginx.service", "")
    return AttemptReport("2026-11-28T00:00:00.000Z", 0, _host(), process, "www-data", 33, WIRE, count, count, 1)


def test_a_reader_gets_each_line_once_though_the_log_begins_anew(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(attempts, "MOST_LOG", 5000)
    log, reader = AttemptLog(tmp_path), AttemptReader(tmp_path / LOG)
    seen: list[int] = []
    for n in range(1, 31):
        log.tell(event(n))
        if n % 3 == 0:
            found = [decode(json.loads(line)) for line in reader.lines()]
            seen += [e.count for e in found if isinstance(e, AttemptReport)]
    assert seen == list(range(1, 31))
    assert (tmp_path / f"{LOG}.1").exists() and (tmp_path / LOG).stat().st_size < 10000


def test_counters_add_up_and_have_no_more_series_than_is_good(tmp_path: Path) -> None:
    log = AttemptLog(tmp_path)
    log.tell(event(2))
    log.tell(event(3))
    log.tell(event(1, 'a"b\\c\n'))
    text = (tmp_path / METRICS).read_text()
    place = 'binary="libx.so.1",cve="CVE-2099-0001",file="x.c",line="12"'
    assert f'suture_attempts_total{{{place},program="/usr/sbin/nginx"}} 5\n' in text
    assert 'program="a\\"b\\\\c?"} 1\n' in text
    for n in range(1200):
        log._count(replace(event(), wire=replace(WIRE, line=n)))
    assert log.metrics().count("suture_attempts_total{") == 1001
    assert 'line="other",program="other"} 201' in log.metrics()


class Receiver(http.server.ThreadingHTTPServer):
    """Refuses the first request, then takes all."""

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.taken: list[tuple[str, bytes]] = []
        self.refused = 0


class Handler(http.server.BaseHTTPRequestHandler):
    def do_POST(self) -> None:
        server = self.server
        assert isinstance(server, Receiver)
        body = self.rfile.read(int(self.headers["Content-Length"]))
        if not server.refused:
            server.refused += 1
            self.send_error(503)
            return
        server.taken.append((self.headers[HEADER], body))
        self.send_response(204)
        self.end_headers()

    def log_message(self, format: str, *args: object) -> None:
        pass


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    with Receiver() as one:
        threading.Thread(target=one.serve_forever, daemon=True).start()
        yield one
        one.shutdown()


def test_an_attempt_goes_all_the_way_to_the_webhook(tmp_path: Path, receiver: Receiver) -> None:
    tree = build(tmp_path)
    made = tree.make(LIMIT)["patches"][0]
    log, key = tmp_path / "log", tmp_path / "key"
    key.write_text("0123456789abcdef0123\n")
    server = subprocess.Popen([tree.program], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    assert server.stdin is not None and server.stdout is not None
    pid = int(server.stdout.readline())
    suture("apply", made["path"], str(pid), check=True)
    url = f"http://127.0.0.1:{receiver.server_port}/events"
    words = (
        ["agent", "attempts", "--log", str(log), "--every", "0.1"],
        ["agent", "notify", "--log", str(log), "--webhook", url, "--secret", str(key)],
    )
    parts = [subprocess.Popen([str(SUTURE), *w], stderr=subprocess.PIPE, text=True) for w in words]
    try:
        for part in parts:
            assert part.stderr is not None and "ready" in part.stderr.readline()
        time.sleep(1)
        print("p 70", file=server.stdin, flush=True)
        deadline = time.monotonic() + 15
        while not receiver.taken and time.monotonic() < deadline:
            time.sleep(0.05)
        header, body = receiver.taken[0]
        moment = int(header.partition(",")[0].removeprefix("t="))
        assert header == signature(b"0123456789abcdef0123", moment, body) and abs(moment - time.time()) < 30
        got = decode(json.loads(body))
        assert isinstance(got, AttemptReport) and (got.process.pid, got.wire.line) == (pid, 9)
        assert parts[0].stderr is not None
        assert f"attempt: {made['id']} 1 attempt: CVE-2099-1000 pid {pid}" in parts[0].stderr.readline()
        assert " 1\n" in (log / METRICS).read_text()
    finally:
        for process in (*parts, server):
            process.kill()
            process.communicate()
