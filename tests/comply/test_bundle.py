"""Evidence that another machine checks, with the verifier that hosts have."""

from __future__ import annotations

import json

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from suture.agent.ed25519 import is_signed
from suture.comply.bundle import BadBundle, EvidenceBundle, open_sealed, seal

KEY = Ed25519PrivateKey.from_private_bytes(bytes(32))
PUBLIC = KEY.public_key().public_bytes_raw()
BUNDLE = EvidenceBundle("2026-07-01T00:00:00Z", "fleet", PUBLIC, {"report.json": b"{}", "audit.json": b"[1]"})
SEALED = seal(BUNDLE, KEY.sign)


def test_a_sealed_bundle_opens_with_its_key() -> None:
    assert open_sealed(SEALED, PUBLIC, is_signed) == BUNDLE


@pytest.mark.parametrize(
    ("old", "new"),
    [("[1]", "[2]"), ("2026-07-01", "2026-07-02"), ('"report.json": "{}"', '"other.json": "{}"')],
)
def test_whatever_is_changed_is_noticed(old: str, new: str) -> None:
    changed = SEALED.replace(old.encode(), new.encode())
    assert changed != SEALED
    with pytest.raises(BadBundle):
        open_sealed(changed, PUBLIC, is_signed)


def test_another_key_or_another_form_is_refused() -> None:
    other = Ed25519PrivateKey.from_private_bytes(bytes([1] * 32))
    with pytest.raises(BadBundle, match="not signed"):
        open_sealed(seal(BUNDLE, other.sign), PUBLIC, is_signed)
    for data in (b"", b"[]", json.dumps({"statement": 1}).encode()):
        with pytest.raises(BadBundle, match="no bundle"):
            open_sealed(data, PUBLIC, is_signed)
