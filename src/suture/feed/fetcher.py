"""How a client gets a file of a feed: over HTTP, or from a folder (file:), as after an import. Counts what comes in,
and gives up on who sends too slowly; how long a file may be is for python-tuf to say."""

from __future__ import annotations

import time
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Iterator
from http.client import HTTPException
from pathlib import Path
from typing import IO

from tuf.api.exceptions import DownloadError, DownloadHTTPError, SlowRetrievalError
from tuf.ngclient import FetcherInterface

from suture import __version__

_SILENCE = 15.0
_PATIENCE = 60.0
_LEAST = 4096
_CHUNK = 65536
_MISSING = 404
_HANDLERS = (  # none for file: and ftp:, so that no server can send a client there
    urllib.request.ProxyHandler,
    urllib.request.HTTPHandler,
    urllib.request.HTTPSHandler,
    urllib.request.HTTPRedirectHandler,
    urllib.request.HTTPDefaultErrorHandler,
    urllib.request.HTTPErrorProcessor,
    urllib.request.UnknownHandler,
)


class Fetcher(FetcherInterface):
    """`silence`: seconds without a byte until it gives up; `patience`: seconds after which a file has to have come in
    with `least` bytes a second on average. `bytes` and `files` count what came."""

    def __init__(self, *, silence: float = _SILENCE, patience: float = _PATIENCE, least: float = _LEAST) -> None:
        self.bytes = 0
        self.files = 0
        self._silence, self._patience, self._least = silence, patience, least
        self._web = urllib.request.OpenerDirector()
        for kind in _HANDLERS:
            self._web.add_handler(kind())
        self._web.addheaders = [("User-Agent", f"suture/{__version__}")]

    def _fetch(self, url: str) -> Iterator[bytes]:
        return self._chunks(self._open(url), url)

    def _open(self, url: str) -> IO[bytes]:
        parts = urllib.parse.urlsplit(url)
        try:
            if parts.scheme == "file":
                return open(urllib.parse.unquote(parts.path), "rb")
            if parts.scheme not in ("http", "https"):
                raise DownloadError(f"{url}: neither http, https nor file")
            found: IO[bytes] = self._web.open(url, timeout=self._silence)
            return found
        except FileNotFoundError as problem:
            raise DownloadHTTPError(f"{url}: no such file", _MISSING) from problem
        except urllib.error.HTTPError as problem:
            raise DownloadHTTPError(f"{url}: HTTP status {problem.code}", problem.code) from problem
        except TimeoutError as problem:
            raise SlowRetrievalError(f"{url}: no answer within {self._silence:.0f} s") from problem
        except (OSError, HTTPException, ValueError) as problem:
            raise DownloadError(f"{url}: {getattr(problem, 'reason', problem)}") from problem

    def _chunks(self, source: IO[bytes], url: str) -> Iterator[bytes]:
        start, own = time.monotonic(), 0
        self.files += 1
        with source:
            while True:
                try:
                    chunk: bytes = source.read1(_CHUNK)  # type: ignore[attr-defined]
                except TimeoutError as problem:
                    raise SlowRetrievalError(f"{url}: not a byte for {self._silence:.0f} s") from problem
                except (OSError, HTTPException) as problem:
                    raise DownloadError(f"{url}: {problem}") from problem
                if not chunk:
                    return
                self.bytes += len(chunk)
                own += len(chunk)
                spent = time.monotonic() - start
                if spent > self._patience and own < spent * self._least:
                    raise SlowRetrievalError(f"{url}: {own} bytes in {spent:.0f} s")
                yield chunk


def folder_url(folder: Path) -> str:
    """The URL of a folder."""
    return folder.absolute().as_uri()
