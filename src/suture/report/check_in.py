"""What a host and the fleet's server send one another. Each side signs (Ed25519) what it sends, the bytes as they are;
what is signed begins with what it is and for which server, so that no message passes for another."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from suture.report.document import AgentReport
from suture.report.encoding import compact, encode

SIGNATURE_HEADER = "Suture-Signature"
ENROL, CHECK_IN, ROTATE = "enrol", "check-in", "rotate"
ENROL_PATH, CHECK_IN_PATH, ROTATE_PATH = "/agent/v1/enrol", "/agent/v1/check-in", "/agent/v1/rotate"
MOST_BYTES, MOST_VALUES = 4 << 20, 1 << 18


@dataclass(frozen=True)
class EnrolmentRequest:
    """`key` is the host's public key (hex digits), `token` what lets it in, "" to wait until a person does, `time`
    when it asks (RFC 3339)."""

    token: str
    key: str
    name: str
    machine: str
    boot_id: str
    time: str


@dataclass(frozen=True)
class EnrolmentAnswer:
    """`id` is the host's name for the server from now on, "" while it waits to be let in; `server` the server's
    public key (hex digits)."""

    id: str
    server: str
    every_seconds: int


@dataclass(frozen=True)
class CheckIn:
    """`sequence` only rises. `digest` is that of the host's state, which is sent only when the server wants it: `state`
    is a document of the kind `agent`, `scan` one of the kind `scan`, none where the host has none."""

    id: str
    sequence: int
    time: str
    boot_id: str
    digest: str
    state: Mapping[str, Any] | None
    scan: Mapping[str, Any] | None


@dataclass(frozen=True)
class CheckInAnswer:
    """`wants_state`: the server does not know the state of this digest. `chosen` are the patches (ids) that the fleet
    lets in here now, `taken_back` those that its rollouts take out again. `sequence` is that of the check-in which is
    answered."""

    sequence: int
    wants_state: bool
    chosen: tuple[str, ...]
    taken_back: tuple[str, ...]
    every_seconds: int


@dataclass(frozen=True)
class RotationRequest:
    """The host `id` has a new `key` (hex digits) from now on. What is sent is signed by the key of before; `proof` is
    the new key's signature (hex digits) of `to_prove`."""

    id: str
    key: str
    time: str
    proof: str


@dataclass(frozen=True)
class RotationAnswer:
    """The key of the host from now on."""

    id: str
    key: str


Message = EnrolmentRequest | EnrolmentAnswer | CheckIn | CheckInAnswer | RotationRequest | RotationAnswer


def encoded(message: Message) -> bytes:
    """As it is sent."""
    return compact(message)


def to_sign(what: str, server: str, data: bytes) -> bytes:
    """What is signed: `what` it is (`enrol`, `check-in`, with `-answer` for the server's), the server's public key
    ("" before it is known), and the bytes that are sent."""
    return f"suture fleet 1 {what} {server}\n".encode() + data


def to_prove(server: str, host: str, key: str) -> bytes:
    """What a host's new key signs, so that nobody gives out another's key as his."""
    return to_sign("new-key", server, f"{host} {key}".encode())


def fingerprint(key: bytes) -> str:
    """What people compare of a public key: the first half of its SHA-256, in groups of four hex digits."""
    digits = hashlib.sha256(key).hexdigest()[:32]
    return "-".join(digits[n : n + 4] for n in range(0, len(digits), 4))


def state_document(report: AgentReport) -> dict[str, Any]:
    """The state that a host sends. What changes with each look alone is left out, so that its digest changes only when
    something has."""
    found = encode(report)
    for field in ("time", "looked", "fetched", "expires"):
        found[field] = ""
    found["events"] = []
    return found


def digest_of(state: Mapping[str, Any], scan: Mapping[str, Any] | None) -> str:
    """SHA-256 of a state, in hex digits."""
    kept = {k: v for k, v in scan.items() if k != "time"} if scan else None
    text = json.dumps([state, kept], sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(text.encode()).hexdigest()
