"""A check-in that says nothing new is answered before the application is asked; every other one takes the long way."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Any

import pytest

from suture.fleet.guard import Message, Receive, Send
from suture.fleet.server_key import is_signed
from suture.fleet.short_way import ShortWay
from suture.report.check_in import CHECK_IN, CHECK_IN_PATH, SIGNATURE_HEADER, to_sign
from tests.fleet.conftest import FIXED, FakeFleet


class Asked:
    """One request, body in pieces; `long` is the body that reached the application, none where it did not."""

    def __init__(self, fleet: FakeFleet, pieces: Sequence[bytes], signature: str, method: str = "POST") -> None:
        self.long: bytes | None = None
        self.sent: list[Message] = []
        left = [{"type": "http.request", "body": p, "more_body": n + 1 < len(pieces)} for n, p in enumerate(pieces)]
        headers = [(SIGNATURE_HEADER.lower().encode(), signature.encode())]
        scope: dict[str, Any] = {"type": "http", "method": method, "path": CHECK_IN_PATH, "headers": headers}

        async def receive() -> Message:
            return left.pop(0)

        async def send(message: Message) -> None:
            self.sent.append(message)

        asyncio.run(ShortWay(self._application, fleet.server)(scope, receive, send))

    async def _application(self, scope: Message, receive: Receive, send: Send) -> None:
        self.long, more = b"", True
        while more:
            message = await receive()
            self.long += message["body"]
            more = message["more_body"]


def test_one_that_says_nothing_new_is_answered_at_once(fleet: FakeFleet) -> None:
    host = fleet.host()
    fleet.server.check_ins.look()
    data = host.message(state=False)
    found = Asked(fleet, [data], host.sign(data).hex())
    assert found.long is None
    start, body = found.sent
    headers, key = dict(start["headers"]), fleet.server.key
    said = bytes.fromhex(headers[SIGNATURE_HEADER.lower().encode()].decode())
    assert start["status"] == 200 and is_signed(key.public, to_sign(f"{CHECK_IN}-answer", key.name, body["body"]), said)
    again = Asked(fleet, [data], host.sign(data).hex())
    assert again.long == data and not again.sent, "what has been once takes the long way, which refuses it"
    assert host.send(data).status_code == 409


@pytest.mark.parametrize("how", ["new state", "another key", "no hex digits", "no form", "pieces", "GET"])
def test_whatever_is_not_as_usual_goes_on_whole(fleet: FakeFleet, how: str) -> None:
    host, other = fleet.host(), fleet.host("other")
    fleet.server.check_ins.look()
    host.state = FIXED if how == "new state" else host.state
    data = b"{}" if how == "no form" else host.message(state=False)
    signature = {"another key": other.sign(data).hex(), "no hex digits": "xyz"}.get(how, host.sign(data).hex())
    pieces = [data[:10], data[10:]] if how == "pieces" else [data]
    found = Asked(fleet, pieces, signature, "GET" if how == "GET" else "POST")
    assert found.long == data and not found.sent
