"""Clients of the picture service: one request at a time, and a steady load of them with the outcome counted."""

from __future__ import annotations

import http.client
import ssl
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType

from demo_files import picture

TIMEOUT = 10.0  # seconds
ENOUGH = 10  # answers of a worker, of which none is what is waited for
ATTEMPTS = 300  # requests until every worker has answered one; the kernel chooses the worker


@dataclass(frozen=True)
class Answer:
    """What came back for one picture: `text` are its letters, `pid` is the worker's."""

    text: str
    pid: int
    seconds: float


Ask = Callable[[bytes], Answer]
"""Sends one picture. Raises `OSError`, `ValueError` or `http.client.HTTPException` without a proper answer."""


def asker(port: int, certificate: Path, host: str = "localhost", timeout: float = TIMEOUT) -> Ask:
    """Sends each picture over a new connection with a full TLS handshake. `timeout` in seconds, for each step."""

    def ask(gif: bytes) -> Answer:
        context = ssl.create_default_context(cafile=str(certificate))
        start = time.monotonic()
        connection = http.client.HTTPSConnection(host, port, timeout=timeout, context=context)
        try:
            connection.request("POST", "/", body=gif, headers={"Content-Type": "image/gif"})
            response = connection.getresponse()
            body = response.read()
        finally:
            connection.close()
        if response.status != http.HTTPStatus.OK:
            raise ValueError(f"status {response.status}")
        return Answer(picture.read(body), int(response.headers["X-Php"]), time.monotonic() - start)

    return ask


def ask_workers(ask: Ask, workers: set[int], gif: bytes, until: Callable[[str], bool]) -> dict[int, str]:
    """For each worker the text of its first answer that fulfils `until`, or else of the last of some, by pid."""
    found: dict[int, list[str]] = {pid: [] for pid in workers}
    for _ in range(ATTEMPTS):
        answer = ask(gif)
        found.setdefault(answer.pid, []).append(answer.text)
        if all(any(map(until, texts)) or len(texts) >= ENOUGH for texts in found.values()):
            break
    return {pid: next(filter(until, texts), texts[-1]) for pid, texts in found.items() if texts}


@dataclass
class Count:
    """The outcome of the load so far."""

    served: int = 0
    failures: list[str] = field(default_factory=list)
    slowest: float = 0.0  # seconds
    pids: set[int] = field(default_factory=set)

    def __add__(self, other: Count) -> Count:
        return Count(
            self.served + other.served,
            [*self.failures, *other.failures],
            max(self.slowest, other.slowest),
            self.pids | other.pids,
        )


class Load:
    """Clients that send a genuine picture again and again while entered, and expect it back.

    `pause` is how long each client waits between two pictures, in seconds; it may be changed at any time.
    """

    def __init__(self, ask: Ask, text: str, clients: int = 2, pause: float = 0.005) -> None:
        self._ask, self._text, self._gif = ask, text, picture.genuine(text)
        self.pause = pause
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
            return self._count + Count()

    def _client(self) -> None:
        while not self._end.is_set():
            one = Count()
            try:
                answer = self._ask(self._gif)
                one.pids, one.slowest = {answer.pid}, answer.seconds
                if self._text in answer.text:
                    one.served = 1
                else:
                    one.failures.append(f"answer {answer}")
            except (OSError, http.client.HTTPException, ValueError, TypeError) as error:
                one.failures.append(f"{type(error).__name__}: {error}")
            with self._lock:
                self._count += one
            self._end.wait(self.pause)
