"""Check-ins that say nothing new, which nearly all requests are, answered before the application with its pages is
asked: that costs more than the check-in itself. Whatever is not as usual takes the long way, which says what is wrong.
"""

from __future__ import annotations

from suture.error import SutureError
from suture.fleet.guard import App, Message, Receive, Send
from suture.fleet.server import Server
from suture.report.check_in import CHECK_IN, CHECK_IN_PATH, SIGNATURE_HEADER

_SIGNATURE = SIGNATURE_HEADER.lower().encode()


class ShortWay:
    """An ASGI application before another."""

    def __init__(self, app: App, server: Server) -> None:
        self._app, self._server = app, server

    async def __call__(self, scope: Message, receive: Receive, send: Send) -> None:
        if scope["type"] != "http" or scope["path"] != CHECK_IN_PATH or scope["method"] != "POST":
            await self._app(scope, receive, send)
            return
        first = await receive()
        found = None if first.get("more_body") else self._answer(scope, first.get("body", b""))
        if found is not None:
            data, signature = found
            headers = [
                (b"content-type", b"application/json"), (b"content-length", str(len(data)).encode()),
                (_SIGNATURE, signature.encode()),
            ]  # fmt: skip
            await send({"type": "http.response.start", "status": 200, "headers": headers})
            await send({"type": "http.response.body", "body": data})
            return
        read = False

        async def again() -> Message:
            nonlocal read
            if read:
                return await receive()
            read = True
            return first

        await self._app(scope, again, send)

    def _answer(self, scope: Message, data: bytes) -> tuple[bytes, str] | None:
        """What is answered, and its signature."""
        try:
            signature = bytes.fromhex(next(v for n, v in scope["headers"] if n == _SIGNATURE).decode())
            found = self._server.check_ins.at_once(data, signature, self._server.now())
        except (SutureError, ValueError, StopIteration):
            return None
        return self._server.signed(found, CHECK_IN) if found is not None else None
