"""Clients that ask at fixed moments over connections that they keep, and what each request met. A lost connection is
made anew at once.

A request that comes late because the server stood still counts from the moment when it was due, so that no wait is left
out.
"""

from __future__ import annotations

import contextlib
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import pairwise
from types import TracebackType
from typing import Protocol


class Lost(Exception):
    """The connection is gone, or cannot be made; the message says how."""


class Conversation(Protocol):
    """One connection to a server."""

    def ask(self) -> None:
        """One request with its answer checked. Raises `Lost`, or ValueError for a wrong answer."""

    def close(self) -> None: ...


@dataclass(frozen=True)
class Request:
    """When it was due and when it was done (CLOCK_MONOTONIC, seconds). `lost`: its connection was; `fault`: it got no
    answer, also not over a new connection.
    """

    due: float
    done: float
    lost: bool
    fault: str


class SteadyLoad:
    """So many clients with so many requests a second each while it is entered; `requests` grows meanwhile."""

    def __init__(self, connect: Callable[[], Conversation], clients: int, rate: float) -> None:
        self.requests: list[Request] = []
        self._connect, self._interval = connect, 1.0 / rate
        self._end = threading.Event()
        self._threads = [threading.Thread(target=self._client, args=(n / clients,)) for n in range(clients)]

    def __enter__(self) -> SteadyLoad:
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._end.set()
        for thread in self._threads:
            thread.join()

    def _client(self, share: float) -> None:
        due = time.monotonic() + share * self._interval
        conversation: Conversation | None = None
        while not self._end.wait(max(0.0, due - time.monotonic())):
            lost, fault = False, ""
            for attempt in (1, 2):
                fault = ""
                try:
                    if conversation is None:
                        conversation = self._connect()
                    conversation.ask()
                    break
                except (Lost, ValueError) as problem:
                    fault = str(problem) or type(problem).__name__
                    if conversation is None:
                        break
                    lost = True
                    conversation.close()
                    conversation = None
                    if attempt == 2:
                        break
            self.requests.append(Request(due, time.monotonic(), lost, fault))
            due += self._interval
        if conversation is not None:
            with contextlib.suppress(Exception):
                conversation.close()


@dataclass(frozen=True)
class Window:
    """What the clients met between two moments; seconds. `silent` is the longest time in which nobody got an answer,
    `slowest` the longest that an answered request took.
    """

    requests: int
    failed: int
    lost: int
    silent: float
    slowest: float
    first_fault: str

    @classmethod
    def of(cls, start: float, end: float, requests: Sequence[Request]) -> Window:
        own = [r for r in requests if start <= r.due < end]
        answered = sorted(r.done for r in own if not r.fault)
        moments = [start, *answered]
        return cls(
            len(own),
            sum(bool(r.fault) for r in own),
            sum(r.lost for r in own),
            max((b - a for a, b in pairwise(moments)), default=end - start),
            max((r.done - r.due for r in own if not r.fault), default=0.0),
            next((r.fault for r in own if r.fault), ""),
        )
