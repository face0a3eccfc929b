"""How a message to a web address is signed, so that who takes it knows who sent it and when.

`Suture-Signature: t=SECONDS,v1=HEX` has the time in seconds since 1970 and HMAC-SHA256, with the secret that both know,
of `SECONDS.BODY`.
"""

from __future__ import annotations

import hashlib
import hmac

HEADER = "Suture-Signature"
SKEW_SECONDS = 300


def signature(secret: bytes, moment: int, body: bytes) -> str:
    """The header's value."""
    digest = hmac.new(secret, f"{moment}.".encode() + body, hashlib.sha256).hexdigest()
    return f"t={moment},v1={digest}"


def is_signed(secret: bytes, body: bytes, header: str, now: int) -> bool:
    """Whether who knows the secret has signed the body within the last minutes."""
    time, _, _ = header.removeprefix("t=").partition(",")
    if not time.isascii() or not time.isdigit() or len(time) > 12 or abs(int(time) - now) > SKEW_SECONDS:
        return False
    return hmac.compare_digest(header.encode(errors="replace"), signature(secret, int(time), body).encode())
