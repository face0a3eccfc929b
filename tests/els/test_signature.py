"""Signatures, checked by gpgv, which apt uses."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from suture.els.signature import SigningKey
from suture.error import NotFound
from tests.els.repository_made import key


def test_gpgv_takes_what_was_signed_and_nothing_else(tmp_path: Path) -> None:
    own = key(tmp_path / "home")
    (tmp_path / "key.asc").write_text(own.public())
    subprocess.run(["gpg", "--homedir", str(own.home), "--batch", "--dearmor", "key.asc"], cwd=tmp_path, check=True)
    signed = own.clear_signed("Suite: x\n")
    for text, status in ((signed, 0), (signed.replace("Suite: x", "Suite: y"), 1)):
        (tmp_path / "InRelease").write_text(text)
        check = ["gpgv", "--keyring", str(tmp_path / "key.asc.gpg"), "InRelease"]
        assert subprocess.run(check, cwd=tmp_path, capture_output=True, check=False).returncode == status


def test_a_key_that_is_not_there_is_said_with_the_command_that_makes_one(tmp_path: Path) -> None:
    (tmp_path / "home").mkdir(mode=0o700)
    with pytest.raises(NotFound, match="no private key a@b") as raised:
        SigningKey("a@b", tmp_path / "home").fingerprint()
    assert "--quick-generate-key 'a@b'" in raised.value.remedy
