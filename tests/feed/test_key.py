from __future__ import annotations

import stat
from pathlib import Path

import pytest

from suture.error import NotFound, Refused
from suture.feed import key
from suture.feed.key import BadKey, Keys


def test_a_key_is_its_owners_alone_and_signs(tmp_path: Path) -> None:
    made = key.create(tmp_path / "keys", "kernel", None)
    (path,) = (tmp_path / "keys").iterdir()
    assert stat.S_IMODE(path.stat().st_mode) == 0o600 and stat.S_IMODE(path.parent.stat().st_mode) == 0o700
    (signer,) = Keys((tmp_path / "keys",)).of(["unknown", made.keyid])
    made.verify_signature(signer.sign(b"x"), b"x")


def test_a_key_that_others_may_read_is_refused(tmp_path: Path) -> None:
    key.create(tmp_path, "kernel", None)
    (path,) = tmp_path.iterdir()
    path.chmod(0o640)
    with pytest.raises(Refused, match="0640") as told:
        Keys((tmp_path,)).signers  # noqa: B018
    assert f"chmod 600 {path}" in told.value.remedy


def test_an_encrypted_key_opens_with_its_passphrase_alone(tmp_path: Path) -> None:
    made = key.create(tmp_path, "kernel", b"open sesame")
    (path,) = tmp_path.iterdir()
    assert b"ENCRYPTED" in path.read_bytes()
    assert Keys((tmp_path,), b"open sesame").of([made.keyid])
    for wrong in (None, b"open"):
        with pytest.raises(BadKey, match="kernel-") as told:
            Keys((tmp_path,), wrong).signers  # noqa: B018
        assert "--passphrase-file" in told.value.remedy


def test_plain_and_encrypted_keys_may_be_used_together(tmp_path: Path) -> None:
    ids = [key.create(tmp_path, "a", None).keyid, key.create(tmp_path, "b", b"x").keyid]
    assert len(Keys((tmp_path,), b"x").of(ids)) == 2


def test_a_passphrase_is_the_first_line_of_a_file(tmp_path: Path) -> None:
    path = tmp_path / "phrase"
    path.write_bytes(b"open sesame\nmore")
    assert key.read_passphrase(path) == b"open sesame" and key.read_passphrase(None) is None
    path.write_bytes(b"\nmore")
    with pytest.raises(Refused):
        key.read_passphrase(path)
    with pytest.raises(NotFound):
        key.read_passphrase(tmp_path / "none")


def test_a_file_that_is_no_key_is_named(tmp_path: Path) -> None:
    (tmp_path / "x.pem").write_text("no key")
    (tmp_path / "x.pem").chmod(0o600)
    with pytest.raises(BadKey, match=r"x\.pem"):
        Keys((tmp_path,)).signers  # noqa: B018
    with pytest.raises(NotFound):
        Keys((tmp_path / "none",)).signers  # noqa: B018
