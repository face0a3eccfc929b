"""People are told, through whatever is slow, away or hostile meanwhile."""

from __future__ import annotations

import json
import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import datetime, timedelta
from http.server import BaseHTTPRequestHandler, HTTPServer
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import select

from suture.fleet import channel, event, outbox
from suture.fleet.channel import BadChannel, Channel
from suture.fleet.event import NoticeKind
from suture.fleet.keeper import sweep, telling
from suture.fleet.server_key import attempt_secret
from suture.fleet.table import DeliveryRow, EventRow, HoleRow
from suture.report import webhook
from suture.report.attempt import TrippedWire
from suture.report.document import AttemptReport
from suture.report.encoding import compact, encode
from suture.report.host import Host, Kernel
from suture.report.process import Process
from tests.fleet.conftest import FakeFleet

SECRET = "a secret of the webhook"


@contextmanager
def listening(status: list[int]) -> Iterator[tuple[str, list[tuple[str, bytes]]]]:
    """A web server that answers with the first of `status`; its address, and what came."""
    came: list[tuple[str, bytes]] = []

    class Taker(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"]))
            came.append((self.headers[webhook.HEADER], body))
            self.send_response(status[0])
            self.send_header("Location", "http://127.0.0.1:1/elsewhere")
            self.end_headers()

        def log_message(self, *_: Any) -> None:
            pass

    with HTTPServer(("127.0.0.1", 0), Taker) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}/hook?key=secret", came
        server.shutdown()


def channels(tmp_path: Path, text: str) -> tuple[Channel, ...]:
    (tmp_path / "secret").write_text(SECRET + "\n")
    (tmp_path / "notify.toml").write_text(text.replace("@/", f"{tmp_path}/"))
    return channel.load(tmp_path / "notify.toml")


def standing_at(moment: datetime) -> Callable[[], datetime]:
    """A clock."""
    return lambda: moment


def hook(tmp_path: Path, url: str, more: str = "") -> tuple[Channel, ...]:
    return channels(tmp_path, f'[[webhook]]\nname = "ops"\nurl = "{url}"\nsecret_file = "@/secret"\n{more}')


def tell(fleet: FakeFleet, kind: NoticeKind = NoticeKind.ROLLOUT_STOPPED, subject: str = "it stopped") -> None:
    with fleet.server.database.writing() as session:
        event.note(session, kind, subject, "because", subject, fleet.server.now())


def test_an_event_comes_signed_and_once_and_a_channel_that_is_new_hears_no_old_ones(
    fleet: FakeFleet, tmp_path: Path
) -> None:
    database, now = fleet.server.database, fleet.server.now
    tell(fleet, subject="before")
    with listening([200]) as (url, came):
        found = hook(tmp_path, url, 'events = ["rollout-stopped"]\n')
        assert outbox.work(database, found, now) == 0
        tell(fleet)
        tell(fleet)
        tell(fleet, NoticeKind.HOST_AWAY)
        assert (outbox.work(database, found, now), outbox.work(database, found, now)) == (1, 0)
    ((header, body),) = came
    said = json.loads(body)
    assert (said["kind"], said["subject"], said["text"]) == ("rollout-stopped", "it stopped", "because")
    moment = int(now().timestamp())
    assert webhook.is_signed(SECRET.encode(), body, header, moment)
    assert not webhook.is_signed(SECRET.encode(), body + b" ", header, moment)
    assert not webhook.is_signed(SECRET.encode(), body, header, moment + 301)


@pytest.mark.parametrize("status", [500, 302])
def test_what_is_not_taken_is_tried_again_after_pauses_that_grow_and_no_secret_is_shown(
    fleet: FakeFleet, tmp_path: Path, status: int
) -> None:
    database, now = fleet.server.database, fleet.server.now()
    answers = [status]
    with listening(answers) as (url, came):
        found = hook(tmp_path, url)
        outbox.work(database, found, lambda: now)
        tell(fleet)
        now = fleet.server.now()
        tried: list[datetime] = []
        for step in range(200):
            before, at = len(came), now + step * timedelta(seconds=5)
            outbox.work(database, found, standing_at(at))
            tried += [at] * (len(came) - before)
        pauses = [b - a for a, b in pairwise(tried)]
        assert pauses[:3] == [timedelta(seconds=s) for s in (10, 20, 40)] and pauses == sorted(pauses)
        assert f"it answers {status}" in fleet.person().get("/") and len({body for _, body in came}) == 1
        answers[0] = 200
        now += timedelta(hours=2)
        assert outbox.work(database, found, lambda: now) == 1
    tell(fleet, subject="another")
    outbox.work(database, found, fleet.server.now)
    with database.reading() as session:
        shown = " ".join(r.why for r in session.scalars(select(DeliveryRow))) + repr(found)
    assert "refused" in shown and SECRET not in shown and "key=secret" not in shown.replace(url, "")


def test_what_a_server_had_begun_to_send_when_it_was_killed_is_sent_by_another(
    fleet: FakeFleet, tmp_path: Path
) -> None:
    database, now = fleet.server.database, fleet.server.now
    with listening([200]) as (url, came):
        found = hook(tmp_path, url)
        outbox.work(database, found, now)
        tell(fleet)
        with database.writing() as session:
            outbox.enqueue(session, found)
            assert outbox.claim(session, found, now()) is not None  # and no more is heard of who has it
        assert outbox.work(database, found, now) == 0
        assert outbox.work(database, found, lambda: now() + timedelta(minutes=3)) == 1
    assert len(came) == 1


def test_mail_and_syslog_carry_it_and_no_name_of_a_host_adds_a_line(fleet: FakeFleet, tmp_path: Path) -> None:
    database, now = fleet.server.database, fleet.server.now
    mails: list[str] = []
    with socket.create_server(("127.0.0.1", 0)) as server, socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as log:
        log.bind(str(tmp_path / "log"))
        threading.Thread(target=take_mail, args=(server, mails), daemon=True).start()
        found = channels(
            tmp_path,
            f'[[mail]]\nname = "mail"\nserver = "127.0.0.1:{server.getsockname()[1]}"\nsecurity = "none"\n'
            'from = "suture@example"\nto = ["ann@example"]\n[[syslog]]\nname = "log"\naddress = "@/log"\n',
        )
        outbox.work(database, found, now)
        tell(fleet, NoticeKind.HOST_AWAY, "host a\r\nBcc: eve@example\n<3>x is away")
        assert outbox.work(database, found, now) == 2
        line = log.recv(65536).decode()
    assert line.startswith("<132>1 2") and "\n" not in line and " host-away - host a" in line
    headers, _, _ = mails[0].partition("\r\n\r\n")
    assert not [h for h in headers.split("\r\n") if h.lower().startswith("bcc")] and "To: ann@example" in headers


def take_mail(server: socket.socket, mails: list[str]) -> None:
    """One mail, as RFC 5321 has it."""
    connection, _ = server.accept()
    with connection, connection.makefile("rwb", buffering=0) as talk:
        talk.write(b"220 here\r\n")
        while line := talk.readline():
            if line.upper().startswith(b"DATA"):
                talk.write(b"354 go on\r\n")
                text = b""
                while not text.endswith(b"\r\n.\r\n"):
                    text += talk.readline()
                mails.append(text.decode())
            if line.upper().startswith(b"QUIT"):
                talk.write(b"221 bye\r\n")
                return
            talk.write(b"250 good\r\n")


def test_what_happens_in_the_fleet_is_an_event_once(fleet: FakeFleet, tmp_path: Path) -> None:
    fleet.host()
    database, now = fleet.server.database, fleet.server.now()
    fleet.server.check_ins.flush()
    fleet.server.settings.channels = channels(tmp_path, '[[syslog]]\nname = "log"\naddress = "@/nowhere"\n')
    tell_all = telling(fleet.server)
    with database.writing() as session:
        session.get_one(HoleRow, "CVE-2026-1").disclosed = now - timedelta(days=29, hours=12)
    fleet.server.settings.rules = [r for r in fleet.server.settings.rules if r.id == "thirty-days"]
    sweep(database, now + timedelta(hours=1), timedelta(minutes=15))
    tell_all()
    with database.writing() as session:
        event.note_deadlines(session, fleet.server.rule(), timedelta(days=31), now)
        event.note_deadlines(session, fleet.server.rule(), timedelta(days=31), now)
        event.note_deadlines(session, fleet.server.rule(), timedelta(), now + timedelta(days=40))
        kinds = list(session.scalars(select(EventRow.kind).order_by(EventRow.id)))
    assert kinds == ["host-away", "deadline-near", "deadline-missed"]


def test_an_attempt_is_taken_from_who_knows_the_secret_and_once(fleet: FakeFleet) -> None:
    host = Host("m", "web1", "boot", "x86_64", Kernel("6.1.0", "6.1.176-1", "6.1.176-1", ""))
    wire = TrippedWire("0" * 16, "libx", "x", "1", "x.c", 7, "f", "n > 8", ("CVE-2026-1",))
    said = AttemptReport("2026-07-01T00:00:00Z", 0, host, Process(7, 1, "nginx", "", "", ""), "www", 33, wire, 2, 2, 1)
    body, moment = compact(encode(said)), int(fleet.server.now().timestamp())
    with fleet.server.database.writing() as session:
        secret = attempt_secret(session).encode()
    good = webhook.signature(secret, moment, body)
    for header in ("", "t=x,v1=y", webhook.signature(b"other", moment, body), webhook.signature(secret, 0, body)):
        found = fleet.client.post("/agent/v1/attempts", content=body, headers={webhook.HEADER: header})
        assert found.status_code == 401
    for _ in range(2):
        found = fleet.client.post("/agent/v1/attempts", content=body, headers={webhook.HEADER: good})
        assert found.status_code == 204
    with fleet.server.database.reading() as session:
        (row,) = session.scalars(select(EventRow))
    assert (row.kind, row.subject) == ("attempt-seen", "CVE-2026-1: 2 attempts on web1")


@pytest.mark.parametrize(
    "text",
    [
        "[[webhook]]",
        '[[webhook]]\nname = "a"\nurl = "file:///x"\nsecret_file = "@/secret"',
        '[[mail]]\nname = "a"\nserver = "x"\nfrom = "a"\nto = []\nuser = "ann"\nsecurity = "none"',
        '[[syslog]]\nname = "a"\nevents = ["birthday"]',
        '[[syslog]]\nname = "a"\n[[syslog]]\nname = "a"',
        "[[pigeon]]",
        "no toml",
    ],
)
def test_a_file_that_does_not_say_whom_to_tell_is_refused(tmp_path: Path, text: str) -> None:
    with pytest.raises(BadChannel):
        channels(tmp_path, text)
