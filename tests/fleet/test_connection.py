"""Clients that send slowly or not at all, played against the server that is served."""

from __future__ import annotations

import socket
import threading
import time
import urllib.request
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

import pytest
import uvicorn

from suture.fleet import connection
from suture.fleet.connection import BoundedConnection
from tests.cli.test_fleet import serving

_SLOW = 60


def test_who_sends_a_head_byte_by_byte_is_cut_off_and_others_are_served(tmp_path: Path) -> None:
    with serving(f"sqlite:///{tmp_path / 'fleet.sqlite'}") as url:
        port = int(url.rpartition(":")[2])
        slow = [socket.create_connection(("127.0.0.1", port)) for _ in range(_SLOW)]
        begun = time.monotonic()
        open_ones = set(slow)
        for one in slow[: _SLOW // 2]:
            one.sendall(b"POST /agent/v1/check-in HTTP/1.1\r\nHost: x\r\n")
        while open_ones and time.monotonic() < begun + connection.HEAD_SECONDS + 10:
            with closing(urllib.request.urlopen(f"{url}/login", timeout=5)) as answer:
                assert answer.status == 200
            open_ones -= {one for one in open_ones if _is_closed(one)}
            time.sleep(0.5)
        assert not open_ones
        assert time.monotonic() - begun >= connection.HEAD_SECONDS - 1
        for one in slow:
            one.close()


def _is_closed(one: socket.socket) -> bool:
    """Another byte of the head is sent; whether the other side has gone."""
    try:
        one.setblocking(False)
        if one.recv(1) == b"":
            return True
    except BlockingIOError:
        pass
    except ConnectionError:
        return True
    return False


def test_a_kept_connection_is_not_watched_while_it_waits_and_is_once_a_head_begins(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(connection, "HEAD_SECONDS", 0.5)
    with _answering() as port, socket.create_connection(("127.0.0.1", port)) as line:
        for _ in range(2):
            line.sendall(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n")
            answer = b""
            while not answer.endswith(b"ok"):
                answer += line.recv(4096)
            assert answer.startswith(b"HTTP/1.1 200")
            time.sleep(0.8)
        line.sendall(b"GET / HTTP/1.1\r\n")
        time.sleep(1.2)
        assert _is_closed(line)


def test_one_address_has_only_so_many(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(connection, "MOST_OF_ONE", 2)
    monkeypatch.setattr(connection, "_is_ours", lambda address: False)
    with _answering() as port:
        lines = [socket.create_connection(("127.0.0.1", port)) for _ in range(4)]
        time.sleep(0.3)
        assert sum(_is_closed(one) for one in lines) == 2
        for one in lines:
            one.close()
        time.sleep(0.3)
        assert not BoundedConnection.held


@contextmanager
def _answering() -> Iterator[int]:
    """An application that answers, on a port."""

    async def app(scope: Any, receive: Any, send: Any) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"2")]})
        await send({"type": "http.response.body", "body": b"ok"})

    config = uvicorn.Config(app, port=0, http=BoundedConnection, lifespan="off", log_level="warning")
    server = uvicorn.Server(config)
    thread = threading.Thread(target=server.run)
    thread.start()
    try:
        while not server.started:
            time.sleep(0.01)
        yield server.servers[0].sockets[0].getsockname()[1]
    finally:
        server.should_exit = True
        thread.join()
