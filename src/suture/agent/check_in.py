"""The host's side of a fleet: it enrols once, then tells the server how it stands, signed by its own key, and hears
which patches it may take. The server's answer chooses among what the feed has signed and can add nothing to it."""

from __future__ import annotations

import json
import ssl
import time
import urllib.error
import urllib.request
from collections.abc import Callable
from dataclasses import replace
from datetime import datetime
from pathlib import Path
from typing import Any, TypeVar

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey

from suture import whole_file
from suture.agent import fleet_order, membership
from suture.agent.membership import Membership
from suture.agent.policy import Policy
from suture.agent.standing import standing
from suture.error import ExitCode, SutureError
from suture.host.facts import this_host
from suture.patch import strict_json
from suture.report.check_in import (
    CHECK_IN,
    CHECK_IN_PATH,
    ENROL,
    ENROL_PATH,
    ROTATE,
    ROTATE_PATH,
    SIGNATURE_HEADER,
    CheckIn,
    CheckInAnswer,
    EnrolmentAnswer,
    EnrolmentRequest,
    RotationAnswer,
    RotationRequest,
    digest_of,
    encoded,
    fingerprint,
    state_document,
    to_prove,
    to_sign,
)
from suture.report.encoding import NoDocument, of_type
from suture.report.moment import now as moment_text
from suture.report.reason import Reason

T = TypeVar("T")
_SECONDS = 30.0
_MOST_ANSWER, _MOST_VALUES = 1 << 18, 1 << 13
_SCAN = "scan.json"
_MOST_SCAN = 4 << 20


class NoFleet(SutureError):
    """The server does not answer, or not as the server that this host has enrolled with."""

    exit_code = ExitCode.NOT_FOUND

    def __init__(self, url: str, why: str) -> None:
        remedy = "look at the network, and at the server: suture fleet serve"
        super().__init__(f"the fleet's server {url}: {why}", remedy, reason=Reason.FLEET_UNREACHABLE)


class RefusedByFleet(SutureError):
    """The server refuses this host."""

    exit_code = ExitCode.REFUSED

    def __init__(self, url: str, why: str) -> None:
        remedy = "do what it says; suture agent enrol lets a host in anew"
        super().__init__(f"the fleet's server {url} refuses: {why}", remedy, reason=Reason.FLEET_REFUSED)


def enrol(
    folder: Path, url: str, token: str, server: str, authority: str, wait: Callable[[str], bool] | None = None
) -> Membership:
    """Bring this host into the fleet at `url`. `server` is the server's public key that it has to have, "" for the one
    that it shows. Without a token `wait` is called with the fingerprint of the host's key, again and again until a
    person has let it in, or it says to give up. Raises `NoFleet`, `RefusedByFleet`, OSError."""
    secret = Ed25519PrivateKey.generate()
    found = _ask_in(secret, url, token, server, authority)
    while not found.id:
        if wait is None or not wait(fingerprint(secret.public_key().public_bytes_raw())):
            raise RefusedByFleet(url, "nobody has let this host in")
        found = _ask_in(secret, url, token, found.server, authority)
    own = Membership(url, found.id, found.server, secret.private_bytes_raw().hex(), authority, 0, found.every_seconds)
    membership.write(folder, own)
    return own


def _ask_in(secret: Ed25519PrivateKey, url: str, token: str, server: str, authority: str) -> EnrolmentAnswer:
    host, key = this_host(), secret.public_key().public_bytes_raw().hex()
    data = encoded(EnrolmentRequest(token, key, host.name, host.id, host.boot_id, moment_text()))
    said, signature = _send(url, ENROL_PATH, data, secret.sign(to_sign(ENROL, "", data)), authority)
    found = _answer(url, EnrolmentAnswer, said)
    if server and found.server != server:
        raise NoFleet(url, "it has another key than the one that was given")
    _check(url, found.server, ENROL, said, signature)
    return found


def rotate(folder: Path) -> str:
    """Give this host another key, or end what was begun; the fingerprint of the new one. If the answer is lost, both
    keys are kept until the server has told which one counts. Raises `NoFleet`, `RefusedByFleet`, OSError."""
    with membership.changing(folder):
        mine = membership.read(folder)
        if mine is None:
            raise NoFleet("(none)", "this host is in no fleet")
        if not mine.next_secret:
            mine = replace(mine, next_secret=Ed25519PrivateKey.generate().private_bytes_raw().hex())
            membership.write(folder, mine)
        old, new = (Ed25519PrivateKey.from_private_bytes(bytes.fromhex(s)) for s in (mine.secret, mine.next_secret))
        key = new.public_key().public_bytes_raw()
        proof = new.sign(to_prove(mine.server, mine.id, key.hex())).hex()
        data = encoded(RotationRequest(mine.id, key.hex(), moment_text(), proof))
        said, signature = _send(
            mine.url, ROTATE_PATH, data, old.sign(to_sign(ROTATE, mine.server, data)), mine.authority
        )
        _check(mine.url, mine.server, ROTATE, said, signature)
        if _answer(mine.url, RotationAnswer, said) != RotationAnswer(mine.id, key.hex()):
            raise NoFleet(mine.url, "its answer is about another key")
        membership.write(folder, replace(mine, secret=mine.next_secret, next_secret=""))
    return fingerprint(key)


class Fleet:
    """The fleet that this host is in. `folder` and `kept` are the folders of the agent's two parts."""

    def __init__(self, folder: Path, kept: Path) -> None:
        self._folder, self._kept = folder, kept
        self._next = 0.0
        self._wants = False
        self.chosen: frozenset[str] = frozenset()
        self.taken_back: frozenset[str] = frozenset()

    def check_in(self, own: Policy) -> None:
        """Say how this host stands when it is time to. Raises `NoFleet`, `RefusedByFleet`, OSError."""
        mine = membership.read(self._folder)
        if mine is None or time.monotonic() < self._next:
            return
        self._next = time.monotonic() + mine.every_seconds
        if mine.next_secret:
            rotate(self._folder)
        state = state_document(standing(own, self._folder, self._kept, datetime.now().astimezone()))
        scan = self._scan()
        digest = digest_of(state, scan)
        answer = self._say(mine, digest, state if self._wants else None, scan if self._wants else None)
        if answer.wants_state:
            answer = self._say(mine, digest, state, scan)
        self._wants = answer.wants_state
        self.chosen, self.taken_back = frozenset(answer.chosen), frozenset(answer.taken_back)

    def _say(self, mine: Membership, digest: str, state: Any, scan: Any) -> CheckInAnswer:
        with membership.changing(self._folder):
            mine = membership.next_sequence(membership.read(self._folder) or mine, int(time.time() * 1000))
            membership.write(self._folder, mine)
        boot = this_host().boot_id
        data = encoded(CheckIn(mine.id, mine.sequence, moment_text(), boot, digest, state, scan))
        key = Ed25519PrivateKey.from_private_bytes(bytes.fromhex(mine.secret))
        signed = key.sign(to_sign(CHECK_IN, mine.server, data))
        said, signature = _send(mine.url, CHECK_IN_PATH, data, signed, mine.authority)
        _check(mine.url, mine.server, CHECK_IN, said, signature)
        answer = _answer(mine.url, CheckInAnswer, said)
        if answer.sequence != mine.sequence:
            raise NoFleet(mine.url, "its answer is to another check-in")
        if answer.every_seconds != mine.every_seconds:
            with membership.changing(self._folder):
                mine = membership.read(self._folder) or mine
                membership.write(self._folder, replace(mine, every_seconds=answer.every_seconds))
        whole_file.replace_durably(self._folder / "spool" / fleet_order.NAME, fleet_order.encode(said, signature))
        return answer

    def _scan(self) -> Any:
        """A document of `suture scan --json`, where somebody puts one."""
        try:
            data = (self._folder / _SCAN).read_bytes()
            return json.loads(data) if len(data) <= _MOST_SCAN else None
        except (OSError, ValueError):
            return None


def _send(url: str, path: str, data: bytes, signature: bytes, authority: str) -> tuple[bytes, bytes]:
    """The answer and its signature."""
    headers = {"Content-Type": "application/json", SIGNATURE_HEADER: signature.hex()}
    request = urllib.request.Request(url.rstrip("/") + path, data, headers)
    try:
        with _opener(authority).open(request, timeout=_SECONDS) as answer:
            said = answer.read(_MOST_ANSWER + 1)
            return said, bytes.fromhex(answer.headers.get(SIGNATURE_HEADER, ""))
    except urllib.error.HTTPError as problem:
        raise RefusedByFleet(url, _why(problem)) from problem
    except (TimeoutError, OSError, ValueError) as problem:
        raise NoFleet(url, str(getattr(problem, "reason", problem))) from problem


def _opener(authority: str) -> urllib.request.OpenerDirector:
    """It follows no redirection: the server is the one that was named."""
    opener = urllib.request.OpenerDirector()
    context = ssl.create_default_context(cafile=authority or None)
    for handler in (
        urllib.request.ProxyHandler(),
        urllib.request.HTTPHandler(),
        urllib.request.HTTPSHandler(context=context),
        urllib.request.HTTPDefaultErrorHandler(),
        urllib.request.HTTPErrorProcessor(),
        urllib.request.UnknownHandler(),
    ):
        opener.add_handler(handler)
    return opener


def _why(problem: urllib.error.HTTPError) -> str:
    try:
        return str(json.loads(problem.read(4096))["error"])[:300]
    except (ValueError, KeyError, TypeError, OSError):
        return f"{problem.code} {problem.reason}"


def _check(url: str, server: str, what: str, data: bytes, signature: bytes) -> None:
    try:
        key = Ed25519PublicKey.from_public_bytes(bytes.fromhex(server))
        key.verify(signature, to_sign(f"{what}-answer", server, data))
    except (InvalidSignature, ValueError) as problem:
        raise NoFleet(url, "its answer is not signed by the server's key") from problem


def _answer(url: str, kind: type[T], data: bytes) -> T:
    try:
        return of_type(kind, strict_json.loads(data, _MOST_ANSWER, _MOST_VALUES), "answer")
    except (NoDocument, ValueError, UnicodeDecodeError) as problem:
        raise NoFleet(url, f"its answer has not its form: {str(problem)[:200]}") from problem
