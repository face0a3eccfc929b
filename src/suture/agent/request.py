"""What crosses the socket between the two parts of the agent: one request and one answer a connection, a line of JSON
each, bounded. Nothing else crosses but files in the spool."""

from __future__ import annotations

import re
import socket
import time
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from enum import Enum
from typing import Any, TypeVar

from suture.error import NotFound, Refused
from suture.patch import strict_json
from suture.report.agent import AgentVerdict, MappedBinary, PatchInForce
from suture.report.encoding import NoDocument, compact, of_type
from suture.report.reason import Cause, Reason

T = TypeVar("T")
_MOST_REQUEST, _MOST_ANSWER, _MOST_VALUES = 1024, 16 << 20, 1 << 20
_NAME = re.compile(r"[0-9a-f]{16}\.(suture\.o|ko)")
_ID = re.compile(r"[0-9a-f]{16}")
_SHA256 = re.compile(r"[0-9a-f]{64}")
_PIECE = 1 << 16
MOST_COMPANIONS = 16


class Work(Enum):
    """What is asked for: put a patch of the spool in, take a patch out, or say what runs here."""

    APPLY = "apply"
    REVERT = "revert"
    SCAN = "scan"


class RefusedRequest(Refused):
    """What was sent is no request."""

    def __init__(self, why: str) -> None:
        super().__init__(
            f"request: {why}", "both parts of the agent have to be of one version", reason=Reason.AGENT_REQUEST
        )


class NoService(NotFound):
    """The privileged part does not answer."""


@dataclass(frozen=True)
class AgentRequest:
    """`name` is a file of the spool and `sha256` its digest (APPLY), `patch` an id (REVERT). `companions` are names of
    files of the spool with other parts of the same fix, to be taken with it (APPLY)."""

    work: Work
    name: str = ""
    sha256: str = ""
    patch: str = ""
    companions: tuple[str, ...] = ()


@dataclass(frozen=True)
class AgentAnswer:
    """`why` tells what was not done, none where all was. `open`: patches (ids) of `in_force` that a process which
    should have them does not carry. `unread` processes could not be looked at."""

    verdict: AgentVerdict
    why: Cause | None
    in_force: tuple[PatchInForce, ...]
    binaries: tuple[MappedBinary, ...] = ()
    open: tuple[str, ...] = ()
    unread: int = 0


def encode(value: AgentRequest | AgentAnswer) -> bytes:
    """As a line."""
    return compact(value) + b"\n"


def decode_request(line: bytes) -> AgentRequest:
    """Raises `RefusedRequest` for whatever is not exactly a request."""
    found = _decode(AgentRequest, line, _MOST_REQUEST)
    apply = found.work is Work.APPLY
    if apply != bool(_NAME.fullmatch(found.name)) or apply != bool(_SHA256.fullmatch(found.sha256)):
        raise RefusedRequest("apply takes the name of a patch file and its SHA-256, and nothing else does")
    if (found.work is Work.REVERT) != bool(_ID.fullmatch(found.patch)):
        raise RefusedRequest("revert takes the id of a patch, and nothing else does")
    others = found.companions
    if len(others) > MOST_COMPANIONS or not all(_NAME.fullmatch(c) for c in others) or (others and not apply):
        raise RefusedRequest("companions are names of a few patch files, and apply alone takes them")
    if (not apply and (found.name or found.sha256)) or (found.work is not Work.REVERT and found.patch):
        raise RefusedRequest("it holds more than its kind does")
    return found


def decode_answer(line: bytes) -> AgentAnswer:
    """Raises `RefusedRequest`."""
    return _decode(AgentAnswer, line, _MOST_ANSWER)


def _decode(kind: type[T], line: bytes, most: int) -> T:
    try:
        read = strict_json.loads(line, most, _MOST_VALUES)
        if isinstance(read, Mapping) and kind is AgentRequest and read.keys() != set(AgentRequest.__annotations__):
            raise RefusedRequest("it has not the fields of a request")
        return of_type(kind, read, "request")
    except (NoDocument, ValueError, UnicodeDecodeError) as problem:
        raise RefusedRequest(str(problem)[:200]) from problem


def receive(line: socket.socket, seconds: float, *, answer: bool = False) -> bytes:
    """One line, within its bounds of length and time. Raises `RefusedRequest`, and `NoService` when the
    other side is gone."""
    most = _MOST_ANSWER if answer else _MOST_REQUEST
    until, found = time.monotonic() + seconds, bytearray()
    while not found.endswith(b"\n"):
        left = until - time.monotonic()
        if left <= 0 or len(found) > most:
            raise RefusedRequest("it is too long" if left > 0 else f"it did not come within {seconds:g} s")
        line.settimeout(left)
        try:
            piece = line.recv(min(_PIECE, most + 1 - len(found)))
        except TimeoutError:
            continue
        except OSError as problem:
            raise _gone(str(problem)) from problem
        if not piece:
            raise _gone("it has ended the connection")
        found += piece
    return bytes(found)


def ask(path: Any, request: AgentRequest, seconds: float) -> AgentAnswer:
    """The privileged part's answer. Raises `NoService`, `RefusedRequest`."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as line:
        line.settimeout(seconds)
        try:
            line.connect(str(path))
            with suppress(BrokenPipeError):  # hung up on; why has been said
                line.sendall(encode(request))
        except OSError as problem:
            raise _gone(f"{path}: {problem.strerror or problem}") from problem
        return decode_answer(receive(line, seconds, answer=True))


def _gone(why: str) -> NoService:
    return NoService(
        f"the agent's privileged part does not answer ({why})",
        "systemctl status suture-agent-apply",
        reason=Reason.AGENT_DOWN,
    )
