"""The socket on which the privileged part listens: who may ask, how much, how often, how long."""

from __future__ import annotations

import os
import select
import socket
import struct
import time
from collections import deque
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Protocol

from suture.agent import request
from suture.agent.journal import Journal
from suture.agent.request import AgentAnswer, AgentRequest
from suture.error import SutureError
from suture.report.agent import AgentVerdict
from suture.report.reason import Cause, Reason

_SECONDS, _IDLE_SECONDS = 5.0, 0.5
_MOST_REQUESTS, _WITHIN = 600, 60.0
_BACKLOG = 8
_CREDENTIALS = struct.Struct("3i")  # struct ucred: pid, uid, gid


class HasNews(Protocol):
    """What tells of something between requests."""

    def fileno(self) -> int:
        """What can be read when there is something, -1 for nothing."""


class Listener:
    """A socket at `path`, open to the user `uid` and to root alone. One request at a time."""

    def __init__(self, path: Path, uid: int, journal: Journal) -> None:
        self.path, self.uid, self.journal = path, uid, journal
        self._times: deque[float] = deque(maxlen=_MOST_REQUESTS)
        path.parent.mkdir(parents=True, exist_ok=True)
        path.unlink(missing_ok=True)
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_CLOEXEC)
        before = os.umask(0o177)
        try:
            self._socket.bind(str(path))
        finally:
            os.umask(before)
        if os.geteuid() == 0:
            os.chown(path, uid, -1)
        self._socket.listen(_BACKLOG)

    def serve(
        self,
        answer: Callable[[AgentRequest], AgentAnswer],
        notice: Callable[[], None] = lambda: None,
        sources: Sequence[HasNews] = (),
        is_over: Callable[[], bool] = lambda: False,
    ) -> None:
        """One connection after the other, until `is_over`; between them `notice`, when one of `sources` has something
        to read and every half second."""
        while not is_over():
            ready, _, _ = select.select([self._socket, *(s for s in sources if s.fileno() >= 0)], [], [], _IDLE_SECONDS)
            notice()
            if self._socket in ready:
                self.serve_one(answer)

    def serve_one(self, answer: Callable[[AgentRequest], AgentAnswer]) -> None:
        line, _ = self._socket.accept()
        with line:
            try:
                self._check(line)
                found = answer(request.decode_request(request.receive(line, _SECONDS)))
            except SutureError as problem:
                self.journal.tell("request refused", problem.what)
                found = AgentAnswer(AgentVerdict.REFUSE, problem.cause, ())
            except Exception as problem:  # a defect: one request is lost by it, and not the service
                text = f"unforeseen {type(problem).__name__}: {problem}"
                self.journal.tell("defect", text)
                found = AgentAnswer(AgentVerdict.REFUSE, Cause(Reason.DEFECT, text, "report it"), ())
            line.settimeout(_SECONDS)
            try:
                line.sendall(request.encode(found))
            except OSError as problem:
                self.journal.tell("answer lost", str(problem))

    def close(self) -> None:
        self._socket.close()
        self.path.unlink(missing_ok=True)

    def _check(self, line: socket.socket) -> None:
        data = line.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, _CREDENTIALS.size)
        _, uid, _ = _CREDENTIALS.unpack(data)
        if uid not in (self.uid, 0):
            raise request.RefusedRequest(f"user {uid} may not ask")
        now = time.monotonic()
        if len(self._times) == _MOST_REQUESTS and now - self._times[0] < _WITHIN:
            raise request.RefusedRequest(f"more than {_MOST_REQUESTS} in {_WITHIN:g} s")
        self._times.append(now)
