"""One request to a FastCGI server over a local socket (FastCGI specification 1.0, a responder)."""

from __future__ import annotations

import socket
import struct
from collections.abc import Mapping
from pathlib import Path

_VERSION, _BEGIN, _END, _PARAMS, _STDIN, _STDOUT = 1, 1, 3, 4, 5, 6
_RESPONDER = 1
_HEADER = struct.Struct(">BBHHBx")  # version, type, request, length of the content, of the padding
_MOST_CONTENT = 0xFFFF


def ask(path: Path, params: Mapping[str, str], body: bytes, seconds: float) -> tuple[dict[str, str], bytes]:
    """The answer's header fields (names in lower case) and body. Raises `OSError`, and `ValueError` for an answer that
    ends early."""
    packed = b"".join(_pair(name.encode(), value.encode()) for name, value in params.items())
    with socket.socket(socket.AF_UNIX) as line:
        line.settimeout(seconds)
        line.connect(str(path))
        request = (
            _record(_BEGIN, struct.pack(">HB5x", _RESPONDER, 0)) + _record(_PARAMS, packed) + _record(_PARAMS, b"")
        )
        parts = (body[at : at + _MOST_CONTENT] for at in range(0, len(body), _MOST_CONTENT))
        line.sendall(request + b"".join(_record(_STDIN, part) for part in parts) + _record(_STDIN, b""))
        answer = _answer(line)
    head, _, rest = answer.partition(b"\r\n\r\n")
    fields = (row.partition(":") for row in head.decode("latin-1").split("\r\n"))
    return {name.lower(): value.strip() for name, _, value in fields}, rest


def _answer(line: socket.socket) -> bytes:
    """All of the server's standard output, until it says that the request has ended."""
    out = bytearray()
    with line.makefile("rb") as file:
        while True:
            head = file.read(_HEADER.size)
            if len(head) < _HEADER.size:
                raise ValueError("the server has closed the line before its answer had ended")
            _, kind, _, length, padding = _HEADER.unpack(head)
            content = file.read(length + padding)[:length]
            if kind == _STDOUT:
                out += content
            elif kind == _END:
                return bytes(out)


def _record(kind: int, content: bytes) -> bytes:
    return _HEADER.pack(_VERSION, kind, 1, len(content), 0) + content


def _pair(name: bytes, value: bytes) -> bytes:
    return _length(name) + _length(value) + name + value


def _length(text: bytes) -> bytes:
    return bytes([len(text)]) if len(text) < 0x80 else struct.pack(">I", len(text) | 1 << 31)
