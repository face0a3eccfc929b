"""What root believes of the fleet's server."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from suture.agent import fleet_order
from suture.agent.policy import Mode, Policy
from suture.report.check_in import CHECK_IN, CheckInAnswer, encoded, to_sign

KEY = Ed25519PrivateKey.from_private_bytes(bytes(32))
SERVER = KEY.public_key().public_bytes_raw().hex()
NOW = datetime(2026, 7, 1, tzinfo=UTC)
PATCH = "0123456789abcdef"
ANSWER = CheckInAnswer(int(NOW.timestamp() * 1000), False, (), (PATCH,), 60)
OWN = Policy("https://feed.example/", Path("/root.json"), mode=Mode.FLEET, fleet_server=SERVER)


def spooled(folder: Path, answer: CheckInAnswer = ANSWER, key: Ed25519PrivateKey = KEY, what: str = CHECK_IN) -> None:
    data = encoded(answer)
    signature = key.sign(to_sign(f"{what}-answer", SERVER, data))
    (folder / fleet_order.NAME).write_bytes(fleet_order.encode(data, signature))


def test_what_the_server_of_the_policy_takes_back_is_believed(tmp_path: Path) -> None:
    assert not fleet_order.takes_back(OWN, tmp_path, PATCH, NOW)
    spooled(tmp_path)
    assert fleet_order.takes_back(OWN, tmp_path, PATCH, NOW + timedelta(minutes=59))
    assert not fleet_order.takes_back(OWN, tmp_path, "f" * 16, NOW)
    assert not fleet_order.takes_back(OWN, tmp_path, PATCH, NOW + timedelta(minutes=61))


@pytest.mark.parametrize("own", [replace(OWN, fleet_server=""), replace(OWN, mode=Mode.AUTOMATIC)])
def test_a_policy_that_names_no_server_believes_none(tmp_path: Path, own: Policy) -> None:
    spooled(tmp_path)
    assert not fleet_order.takes_back(own, tmp_path, PATCH, NOW)


def test_another_key_message_or_form_is_not_believed(tmp_path: Path) -> None:
    spooled(tmp_path, key=Ed25519PrivateKey.from_private_bytes(bytes([1] * 32)))
    assert not fleet_order.takes_back(OWN, tmp_path, PATCH, NOW)
    spooled(tmp_path, what="enrol")
    assert not fleet_order.takes_back(OWN, tmp_path, PATCH, NOW)
    for data in (b"", b"[]", b'{"answer": "{}", "signature": "00"}', b'{"answer": 1, "signature": 2}'):
        (tmp_path / fleet_order.NAME).write_bytes(data)
        assert not fleet_order.takes_back(OWN, tmp_path, PATCH, NOW)
