"""What the fleet's server has taken back, as root believes it: the server's last answer, which the other part hands
over in the spool, signed by the key that root's policy names, and not old. It can take a patch out that a rollout has
put in; it can put none in."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from pathlib import Path

from suture.agent import spool
from suture.agent.ed25519 import is_signed
from suture.agent.policy import Mode, Policy
from suture.patch import strict_json
from suture.report.check_in import CHECK_IN, CheckInAnswer, to_sign
from suture.report.encoding import NoDocument, of_type

NAME = "fleet.answer"
_MOST_BYTES, _MOST_VALUES = 1 << 18, 1 << 13
_FRESH = timedelta(hours=1)


def encode(data: bytes, signature: bytes) -> bytes:
    """The server's answer as a file."""
    return json.dumps({"answer": data.decode(), "signature": signature.hex()}).encode()


def takes_back(own: Policy, folder: Path, patch: str, now: datetime) -> bool:
    """Whether the server of the policy has said so within the last hour. `folder` is the spool."""
    if own.mode is not Mode.FLEET or not own.fleet_server:
        return False
    try:
        read = strict_json.loads(spool.take(folder, NAME, _MOST_BYTES), _MOST_BYTES, _MOST_VALUES)
        data, signature = str(read["answer"]).encode(), bytes.fromhex(read["signature"])
        said = of_type(CheckInAnswer, strict_json.loads(data, _MOST_BYTES, _MOST_VALUES), "answer")
        sent = datetime.fromtimestamp(said.sequence / 1000, UTC)
    except (spool.BadSpool, NoDocument, ValueError, KeyError, TypeError, OverflowError, OSError):
        return False
    key = bytes.fromhex(own.fleet_server)
    if patch not in said.taken_back or abs(now - sent) > _FRESH:
        return False
    return is_signed(key, to_sign(f"{CHECK_IN}-answer", own.fleet_server, data), signature)
