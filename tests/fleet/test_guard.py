"""What no request may be: longer or slower than its kind."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from suture.fleet import guard
from suture.fleet.guard import Message, Receive, RequestGuard, Send


async def reader(_: Message, receive: Receive, send: Send) -> None:
    """An application that reads the whole body and answers with its length."""
    size, more = 0, True
    while more:
        message = await receive()
        size, more = size + len(message.get("body", b"")), message.get("more_body", False)
    await send({"type": "http.response.start", "status": 200, "headers": []})
    await send({"type": "http.response.body", "body": str(size).encode()})


def answered(parts: list[bytes], headers: list[tuple[bytes, bytes]] | None = None, ends: bool = True) -> Any:
    """The status and the headers for a body of these parts, without a length that was announced."""
    left, sent = list(parts), []

    async def receive() -> Message:
        if not left:
            await asyncio.sleep(60)
        body = left.pop(0)
        return {"type": "http.request", "body": body, "more_body": bool(left) or not ends}

    async def send(message: Message) -> None:
        sent.append(message)

    scope = {"type": "http", "path": "/login", "headers": headers or []}
    asyncio.run(RequestGuard(reader)(scope, receive, send))
    return sent[0]["status"], dict(sent[0]["headers"]), sent[-1]["body"]


def test_a_body_is_read_and_the_answer_forbids_what_is_from_elsewhere() -> None:
    status, headers, body = answered([b"a" * 10, b"b"])
    assert (status, body) == (200, b"11") and b"content-security-policy" in headers


def test_a_long_body_that_announces_nothing_is_cut_off() -> None:
    assert answered([b"x" * 65536] * 5)[0] == 413
    assert answered([b""], [(b"content-length", b"999999999")])[0] == 413
    assert answered([b""], [(b"content-length", b"-1")])[0] == 413


def test_a_body_that_does_not_come_is_not_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(guard, "BODY_SECONDS", 0.05)
    assert answered([b"slow"], ends=False)[0] == 408
