"""TLS clients that connect all the time, each a process of its own, with every handshake and every answer counted.

A client goes round: TLS 1.3 and 1.2, a full handshake and then one that takes up the session again, with and without a
certificate of its own; some connections are kept alive for several requests. It uses the machine's own library, not the
one that is patched. Run as a program, this is one client: it prints its events when its standard input is closed, or at
its limits.
"""

from __future__ import annotations

import json
import select
import socket
import ssl
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from types import TracebackType

_TIMEOUT = 20.0  # seconds that one connection may take
_MOST_SECONDS = 900.0
_MOST_CONNECTIONS = 200_000


@dataclass(frozen=True)
class Target:
    """A server on 127.0.0.1. `body` is a file that holds what every answer must hold; `requests` fit on one kept
    connection."""

    port: int
    certificate: str
    key: str
    path: str
    body: str
    requests: int


@dataclass(frozen=True)
class Connection:
    """One connection: when its handshake ended (CLOCK_MONOTONIC, seconds), how long that took, requests answered,
    `fault` if any.

    `stage` is where it failed: "" when it did not, else "connect", "handshake" or "request".
    """

    at: float
    handshake: float
    resumed: bool
    version: str
    requests: int
    stage: str = ""
    fault: str = ""


class Client:
    """One client: its two contexts per version keep the sessions that are taken up again."""

    def __init__(self, target: Target) -> None:
        self.target = target
        self.body = Path(target.body).read_bytes()
        self.contexts = [self._context(v, c) for v in (ssl.TLSVersion.TLSv1_3, ssl.TLSVersion.TLSv1_2) for c in (0, 1)]

    def _context(self, version: ssl.TLSVersion, certificate: int) -> ssl.SSLContext:
        context = ssl.create_default_context(cafile=self.target.certificate)
        context.minimum_version = context.maximum_version = version
        if certificate:
            context.load_cert_chain(self.target.certificate, self.target.key)
        return context

    def run(self) -> list[Connection]:
        """Until standard input is closed, or the limits."""
        done: list[Connection] = []
        sessions: dict[int, ssl.SSLSession | None] = {}
        end = time.monotonic() + _MOST_SECONDS
        while len(done) < _MOST_CONNECTIONS and time.monotonic() < end and not select.select([sys.stdin], [], [], 0)[0]:
            turn = len(done) // 2 % len(self.contexts)
            again = len(done) % 2 == 1
            connection, session = self.connect(self.contexts[turn], sessions.get(turn) if again else None, again)
            sessions[turn] = session
            done.append(connection)
        return done

    def connect(
        self, context: ssl.SSLContext, session: ssl.SSLSession | None, again: bool
    ) -> tuple[Connection, ssl.SSLSession | None]:
        """One connection from beginning to end, and the session that it leaves."""
        stage, started, shaken, resumed, answered, version = "connect", time.monotonic(), 0.0, False, 0, ""
        try:
            with socket.create_connection(("127.0.0.1", self.target.port), _TIMEOUT) as plain:
                stage, started = "handshake", time.monotonic()
                with context.wrap_socket(plain, server_hostname="localhost", session=session) as secured:
                    shaken = time.monotonic()
                    resumed, version, stage = bool(secured.session_reused), secured.version() or "", "request"
                    for last in [*([False] * ((self.target.requests - 1) * again)), True]:
                        self.ask(secured, last)
                        answered += 1
                    return Connection(shaken, shaken - started, resumed, version, answered), secured.session
        except (OSError, ValueError) as problem:
            now = time.monotonic()
            fault = f"{type(problem).__name__}: {problem}"
            return Connection(now, (shaken or now) - started, resumed, version, answered, stage, fault), None

    def ask(self, secured: ssl.SSLSocket, last: bool) -> None:
        """One request. Raises ValueError for an answer that is not the right one."""
        closing = "close" if last else "keep-alive"
        request = f"GET {self.target.path} HTTP/1.1\r\nHost: localhost\r\nConnection: {closing}\r\n\r\n"
        secured.sendall(request.encode())
        answer = b""
        while b"\r\n\r\n" not in answer or len(answer) < answer.index(b"\r\n\r\n") + 4 + len(self.body):
            piece = secured.recv(65536)
            if not piece:
                break
            answer += piece
        head, _, body = answer.partition(b"\r\n\r\n")
        if b" 200 " not in head.split(b"\r\n")[0] or body != self.body:
            raise ValueError(f"{head[:60]!r} with {len(body)} bytes of {len(self.body)}")


class Load:
    """So many clients while it is entered; their connections afterwards in `connections`."""

    def __init__(self, target: Target, clients: int) -> None:
        self._words = [sys.executable, __file__, json.dumps(asdict(target))]
        self._clients = clients
        self._running: list[subprocess.Popen[str]] = []
        self.connections: list[Connection] = []

    def __enter__(self) -> Load:
        for _ in range(self._clients):
            pipe = subprocess.PIPE
            self._running.append(subprocess.Popen(self._words, stdin=pipe, stdout=pipe, text=True))
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for client in self._running:
            assert client.stdin is not None
            client.stdin.close()
        for client in self._running:
            assert client.stdout is not None
            text = client.stdout.read()
            if client.wait() == 0:
                self.connections.extend(Connection(**row) for row in json.loads(text))
            elif kind is None:
                raise RuntimeError(f"a client ended with {client.returncode}")
        self.connections.sort(key=lambda c: c.at)


@dataclass(frozen=True)
class Phase:
    """What the clients saw between two moments; times in seconds. `slowest` is the longest handshake."""

    name: str
    seconds: float
    handshakes: int
    resumed: int
    requests: int
    failed: int
    slowest: float

    @classmethod
    def of(cls, name: str, start: float, end: float, connections: Sequence[Connection]) -> Phase:
        """Connections whose handshake ended (or failed) in it."""
        own = [c for c in connections if start <= c.at < end]
        good = [c for c in own if c.stage not in ("connect", "handshake")]
        return cls(
            name,
            end - start,
            len(good),
            sum(c.resumed for c in good),
            sum(c.requests for c in good),
            sum(bool(c.stage) for c in own),
            max((c.handshake for c in good), default=0.0),
        )


if __name__ == "__main__":
    print(json.dumps([asdict(c) for c in Client(Target(**json.loads(sys.argv[1]))).run()]))
