"""A connection to the server: the head of a request has to come in time, and one address has only so many at once. The
body of a request is `guard.py`'s."""

from __future__ import annotations

import asyncio
import ipaddress
from collections import Counter
from typing import Any, ClassVar

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

HEAD_SECONDS = 10.0
MOST_OF_ONE = 256


class BoundedConnection(HttpToolsProtocol):
    """As uvicorn makes it for each. Addresses of this machine, behind which a proxy has all clients, have no bound."""

    held: ClassVar[Counter[str]] = Counter()

    def connection_made(self, transport: Any) -> None:
        super().connection_made(transport)
        self._address = self.client[0] if self.client else ""
        self._late: asyncio.TimerHandle | None = None
        self.held[self._address] += 1
        if self.held[self._address] > MOST_OF_ONE and not _is_ours(self._address):
            transport.abort()
            return
        self._watch()

    def data_received(self, data: bytes) -> None:
        super().data_received(data)
        self._watch()

    def connection_lost(self, exc: Exception | None) -> None:
        self._stop_watching()
        self.held[self._address] -= 1
        if not self.held[self._address]:
            del self.held[self._address]
        super().connection_lost(exc)

    def _watch(self) -> None:
        """A head that has begun, or has to, is waited for so long; a request that runs is not watched here."""
        cycle: Any = self.cycle
        if cycle is not None and not cycle.response_complete:
            self._stop_watching()
        elif self._late is None:
            self._late = self.loop.call_later(HEAD_SECONDS, self.transport.abort)

    def _stop_watching(self) -> None:
        if self._late is not None:
            self._late.cancel()
            self._late = None


def _is_ours(address: str) -> bool:
    try:
        return not address or ipaddress.ip_address(address).is_loopback
    except ValueError:
        return False
