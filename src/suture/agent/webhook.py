"""Events sent to a web address, signed (`suture.report.webhook`). The body is the document as it stands in the log."""

from __future__ import annotations

import time
import urllib.error
import urllib.request
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field

from suture.report.webhook import HEADER, signature

_SECONDS = 10.0
_MOST_WAITING = 1000
_MOST_BATCH = 100
_LONGEST = 300.0


def post(url: str, body: bytes, secret: bytes, moment: int) -> str:
    """Send one event; "" when it was taken, else why not."""
    headers = {"Content-Type": "application/json", HEADER: signature(secret, moment, body)}
    request = urllib.request.Request(url, data=body, headers=headers, method="POST")
    try:
        with urllib.request.urlopen(request, timeout=_SECONDS) as answer:
            return "" if 200 <= answer.status < 300 else f"answers {answer.status}"
    except (OSError, ValueError, urllib.error.URLError) as problem:
        return str(problem)


@dataclass
class Webhook:
    """Sends events in order. One that is not taken is sent again, after pauses that grow; at most 1,000 wait, and the
    oldest go first."""

    send: Callable[[bytes], str]
    clock: Callable[[], float] = time.monotonic
    lost: int = 0
    _waiting: deque[bytes] = field(default_factory=deque)
    _pause: float = 0.0
    _next: float = 0.0

    def add(self, body: bytes) -> None:
        if len(self._waiting) >= _MOST_WAITING:
            self._waiting.popleft()
            self.lost += 1
        self._waiting.append(body)

    def work(self) -> str:
        """Send what may be sent now; why the first that waits was not taken, "" where none waits."""
        if self.clock() < self._next:
            return ""
        for _ in range(_MOST_BATCH):
            if not self._waiting:
                break
            problem = self.send(self._waiting[0])
            if problem:
                self._pause = min(max(1.0, 2 * self._pause), _LONGEST)
                self._next = self.clock() + self._pause
                return problem
            self._waiting.popleft()
            self._pause = 0.0
        return ""
