"""What every answer of the server has, and what no request may be: longer or slower than its kind."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, MutableMapping
from contextlib import suppress
from typing import Any

from suture.report.check_in import CHECK_IN_PATH, MOST_BYTES

Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
App = Callable[[Message, Receive, Send], Awaitable[None]]

_MOST_FORM = 256 << 10
BODY_SECONDS = 20.0
_HEADERS = (
    (
        b"content-security-policy",
        b"default-src 'none'; style-src 'self'; script-src 'self'; img-src 'self'; connect-src 'self'; "
        b"form-action 'self'; frame-ancestors 'none'; base-uri 'none'",
    ),
    (b"x-content-type-options", b"nosniff"),
    (b"x-frame-options", b"DENY"),
    (b"referrer-policy", b"same-origin"),
    (b"cross-origin-opener-policy", b"same-origin"),
    (b"cross-origin-resource-policy", b"same-origin"),
    (b"permissions-policy", b"camera=(), microphone=(), geolocation=()"),
)


class _Ended(Exception):
    """A request that was answered already."""


class RequestGuard:
    """An ASGI application around another."""

    def __init__(self, app: App) -> None:
        self._app = app

    async def __call__(self, scope: Message, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        most = MOST_BYTES if scope["path"] == CHECK_IN_PATH else _MOST_FORM
        started = False
        bounded = _Bounded(receive, most)

        async def sending(message: Message) -> None:
            nonlocal started
            if bounded.ended and not started:
                return  # what the application makes of a body that was cut off is not the answer
            if message["type"] == "http.response.start":
                started = True
                given = list(message.get("headers", []))
                names = {n.lower() for n, _ in given}
                given += [(n, v) for n, v in _HEADERS if n not in names]
                if b"cache-control" not in names:
                    given.append((b"cache-control", b"no-store"))
                message["headers"] = given
            await send(message)

        length = dict(scope["headers"]).get(b"content-length", b"0")
        if not length.isdigit() or int(length) > most:
            await _refuse(sending, 413, b"the request is too long\n")
            return
        with suppress(_Ended):
            await self._app(scope, bounded, sending)
        if bounded.ended and not started:
            bounded.ended = False
            status = 413 if bounded.seen > most else 408
            await _refuse(sending, status, b"the request is too long, or came too slowly\n")


class _Bounded:
    """The body of a request, within its bytes and its time."""

    def __init__(self, receive: Receive, most: int) -> None:
        self._receive, self._most = receive, most
        self._until = asyncio.get_running_loop().time() + BODY_SECONDS
        self._whole = False
        self.ended = False
        self.seen = 0

    async def __call__(self) -> Message:
        if self._whole:  # what comes now is that the other side has gone
            return await self._receive()
        try:
            async with asyncio.timeout_at(self._until):
                message = await self._receive()
        except TimeoutError as problem:
            self.ended = True
            raise _Ended from problem
        self.seen += len(message.get("body", b""))
        if self.seen > self._most:
            self.ended = True
            raise _Ended
        self._whole = not message.get("more_body", False)
        return message


async def _refuse(send: Send, status: int, text: bytes) -> None:
    headers = [(b"content-type", b"text/plain; charset=utf-8"), (b"connection", b"close")]
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": text})
