"""Clients of the payment service: one request at a time, and a steady load of them with the outcome counted."""

from __future__ import annotations

import http.client
import json
import ssl
import threading
import time
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType

TIMEOUT = 10.0  # seconds


@dataclass(frozen=True)
class Answer:
    """What the service said to one order."""

    status: int
    accepted: bool
    order: str
    error: str
    php_pid: int
    nginx_pid: int
    seconds: float


def post(port: int, certificate: Path, message: bytes) -> Answer:
    """Send one order over a new connection with a full TLS handshake.

    Raises `OSError` or `http.client.HTTPException` when the service gives no proper answer.
    """
    context = ssl.create_default_context(cafile=str(certificate))
    start = time.monotonic()
    connection = http.client.HTTPSConnection("localhost", port, timeout=TIMEOUT, context=context)
    try:
        connection.request("POST", "/", body=message, headers={"Content-Type": "application/pkcs7-mime"})
        response = connection.getresponse()
        body = json.loads(response.read())
    finally:
        connection.close()
    return Answer(
        status=response.status,
        accepted=body["accepted"],
        order=body["order"],
        error=body["error"],
        php_pid=body["pid"],
        nginx_pid=int(response.headers["X-Worker"]),
        seconds=time.monotonic() - start,
    )


@dataclass
class Count:
    """The outcome of the load so far."""

    served: int = 0
    failures: list[str] = field(default_factory=list)
    slowest: float = 0.0  # seconds
    pids: set[int] = field(default_factory=set)


class Load:
    """Clients that send the genuine order again and again, each time over a new TLS connection, while entered.

    `pause` is how long each client waits between two orders, in seconds; it may be changed at any time.
    """

    def __init__(self, port: int, certificate: Path, message: bytes, expected: str, clients: int = 2) -> None:
        self._request = (port, certificate, message)
        self._expected = expected
        self.pause = 0.005
        self._end = threading.Event()
        self._lock = threading.Lock()
        self._count = Count()
        self._threads = [threading.Thread(target=self._client) for _ in range(clients)]

    def __enter__(self) -> Load:
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._end.set()
        for thread in self._threads:
            thread.join()

    def count(self) -> Count:
        """A copy of the outcome so far."""
        with self._lock:
            now = self._count
            return Count(now.served, list(now.failures), now.slowest, set(now.pids))

    def _client(self) -> None:
        while not self._end.is_set():
            try:
                answer = post(*self._request)
                failure = None if answer.order == self._expected else f"answer {answer}"
                pids, seconds = {answer.php_pid, answer.nginx_pid}, answer.seconds
            except (OSError, http.client.HTTPException, ValueError, KeyError) as error:
                failure, pids, seconds = f"{type(error).__name__}: {error}", set(), 0.0
            with self._lock:
                self._count.pids |= pids
                self._count.slowest = max(self._count.slowest, seconds)
                if failure is None:
                    self._count.served += 1
                else:
                    self._count.failures.append(failure)
            self._end.wait(self.pause)
