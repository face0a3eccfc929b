"""The server's own key (Ed25519). It signs answers and evidence; it signs no patch, and no host takes one by its
word."""

from __future__ import annotations

import secrets
from dataclasses import dataclass
from functools import cached_property

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
from sqlalchemy.orm import Session

from suture.fleet.table import SettingRow

_NAME, _ATTEMPTS = "server-key", "attempt-secret"


@dataclass(frozen=True)
class ServerKey:
    """The private part, 32 bytes."""

    secret: bytes

    @cached_property
    def _key(self) -> Ed25519PrivateKey:
        return Ed25519PrivateKey.from_private_bytes(self.secret)

    @cached_property
    def public(self) -> bytes:
        return self._key.public_key().public_bytes_raw()

    @property
    def name(self) -> str:
        """The public key in hex digits."""
        return self.public.hex()

    def sign(self, message: bytes) -> bytes:
        return self._key.sign(message)


def server_key(session: Session) -> ServerKey:
    """The server's key, which is made the first time."""
    row = session.get(SettingRow, _NAME)
    if row is None:
        row = SettingRow(name=_NAME, value=Ed25519PrivateKey.generate().private_bytes_raw().hex())
        session.add(row)
        session.flush()
    return ServerKey(bytes.fromhex(row.value))


def attempt_secret(session: Session) -> str:
    """The secret of the agents' webhooks, which is made the first time: who has it can tell of attempts."""
    row = session.get(SettingRow, _ATTEMPTS)
    if row is None:
        row = SettingRow(name=_ATTEMPTS, value=secrets.token_urlsafe(32))
        session.add(row)
        session.flush()
    return row.value


def is_signed(key: bytes, message: bytes, signature: bytes) -> bool:
    """Whether the owner of this public key has signed the message."""
    try:
        Ed25519PublicKey.from_public_bytes(key).verify(signature, message)
    except (InvalidSignature, ValueError):
        return False
    return True
