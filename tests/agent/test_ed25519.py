"""Signatures: RFC 8032's own, and the same answer as another implementation for whatever is given."""

from __future__ import annotations

import pytest
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
from hypothesis import given, settings
from hypothesis import strategies as st

from suture.agent.ed25519 import _ORDER, is_signed

# RFC 8032, section 7.1, tests 1 to 3: key, message, signature
RFC = (
    (
        "d75a980182b10ab7d54bfed3c964073a0ee172f3daa62325af021a68f707511a",
        "",
        "e5564300c360ac729086e2cc806e828a84877f1eb8e5d974d873e065224901555fb8821590a33bacc61e39701cf9b46bd25bf5f0595bbe"
        "24655141438e7a100b",
    ),
    (
        "3d4017c3e843895a92b70aa74d1b7ebc9c982ccf2ec4968cc0cd55f12af4660c",
        "72",
        "92a009a9f0d4cab8720e820b5f642540a2b27b5416503f8fb3762223ebdb69da085ac1e43e15996e458f3613d0f11d8c387b2eaeb4302a"
        "eeb00d291612bb0c00",
    ),
    (
        "fc51cd8e6218a1a38da47ed00230f0580816ed13ba3303ac5deb911548908025",
        "af82",
        "6291d657deec24024827e69c3abe01a30ce548a284743a445e3680d7db5ac3ac18ff9b538d16f290ae67f760984dc6594a7c15e9716ed2"
        "8dc027beceea1ec40a",
    ),
)


@pytest.mark.parametrize(("key", "message", "signature"), RFC)
def test_the_signatures_of_the_rfc(key: str, message: str, signature: str) -> None:
    public, data, good = bytes.fromhex(key), bytes.fromhex(message), bytes.fromhex(signature)
    assert is_signed(public, data, good)
    assert not is_signed(public, data + b"x", good)
    for n in (0, 31, 32, 63):
        assert not is_signed(public, data, good[:n] + bytes([good[n] ^ 1]) + good[n + 1 :])
    assert not is_signed(public, data, good[:-1]) and not is_signed(public[:-1], data, good)


def other(key: bytes, message: bytes, signature: bytes) -> bool:
    """OpenSSL's answer."""
    try:
        Ed25519PublicKey.from_public_bytes(key).verify(signature, message)
    except (InvalidSignature, ValueError):
        return False
    return True


@settings(max_examples=60, deadline=None)
@given(st.binary(max_size=64), st.integers(0, 64 * 8 - 1), st.booleans())
def test_openssl_says_the_same(message: bytes, bit: int, spoil: bool) -> None:
    private = Ed25519PrivateKey.generate()
    key, signature = private.public_key().public_bytes_raw(), bytearray(private.sign(message))
    if spoil:
        signature[bit // 8] ^= 1 << bit % 8
    assert is_signed(key, message, bytes(signature)) == other(key, message, bytes(signature)) == (not spoil)


@settings(max_examples=60, deadline=None)
@given(st.binary(min_size=32, max_size=32), st.binary(min_size=64, max_size=64))
def test_no_bytes_are_a_signature_by_chance_or_an_error(key: bytes, signature: bytes) -> None:
    assert is_signed(key, b"m", signature) == other(key, b"m", signature)


def test_a_number_has_one_encoding() -> None:
    """s and s + the group's order mean the same; the second is refused, so nobody makes a second signature of one."""
    private = Ed25519PrivateKey.generate()
    good = private.sign(b"m")
    larger = int.from_bytes(good[32:], "little") + _ORDER
    key = private.public_key().public_bytes_raw()
    assert is_signed(key, b"m", good) and not is_signed(key, b"m", good[:32] + larger.to_bytes(32, "little"))
