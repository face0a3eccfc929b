"""A web server for trying a feed out: static files of one folder, one process, no TLS. docs/how-to/feed.md shows one
for real."""

from __future__ import annotations

from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

from suture.error import NotFound


class _Files(SimpleHTTPRequestHandler):
    """The files, without lists of folders."""

    protocol_version = "HTTP/1.1"

    def list_directory(self, path: object) -> None:
        self.send_error(404)

    def log_message(self, format: str, *args: object) -> None:
        """Nothing."""


def server(public: Path, address: str, port: int) -> ThreadingHTTPServer:
    """A server that is ready; `serve_forever` of it serves. Raises `NotFound` when the address cannot be had."""
    try:
        return ThreadingHTTPServer((address, port), partial(_Files, directory=str(public)))
    except OSError as problem:
        raise NotFound(f"{address}:{port}: {problem.strerror}", "choose another --address or --port") from problem
