"""Private keys in folders, one ed25519 key a file (PKCS #8, mode 0600), encrypted where a passphrase is given. A
file's name is for people: a key is found by its id, which is made from its public half."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import (
    BestAvailableEncryption,
    Encoding,
    NoEncryption,
    PrivateFormat,
    load_pem_private_key,
)
from securesystemslib.signer import CryptoSigner, Key, SSlibKey

from suture.error import ExitCode, NotFound, Refused, SutureError
from suture.report.reason import Reason

SUFFIX = ".pem"
_MOST_BYTES = 16384
_OTHERS = stat.S_IRWXG | stat.S_IRWXO


class BadKey(SutureError):
    """A file of a folder of keys is no key, or the passphrase is wrong."""

    exit_code = ExitCode.NO_PERMISSION


def read_passphrase(path: Path | None) -> bytes | None:
    """The first line of a file; None for no file. Raises `NotFound`, and `Refused` for an empty one."""
    if path is None:
        return None
    try:
        found = path.read_bytes().split(b"\n")[0].rstrip(b"\r")
    except OSError as problem:
        raise NotFound(f"{path}: {problem.strerror}", "give a file with the passphrase in its first line") from problem
    if not found:
        raise Refused(f"{path}: its first line is empty", "write the passphrase there, or leave the option out")
    return found


def create(folder: Path, name: str, passphrase: bytes | None) -> Key:
    """A new key in a folder, which is made if it is not there. Raises `NotFound` when it can't be written."""
    private = Ed25519PrivateKey.generate()
    public = SSlibKey.from_crypto(private.public_key())
    how = BestAvailableEncryption(passphrase) if passphrase else NoEncryption()
    text = private.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, how)
    path = folder / f"{name}-{public.keyid[:8]}{SUFFIX}"
    try:
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        handle = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
        with os.fdopen(handle, "wb") as out:
            out.write(text)
            out.flush()
            os.fsync(out.fileno())
    except OSError as problem:
        raise NotFound(f"{path}: {problem.strerror}", "give a folder that you may write to") from problem
    return public


@dataclass(frozen=True)
class Keys:
    """The private keys at hand: all of some folders."""

    folders: Sequence[Path]
    passphrase: bytes | None = None

    @cached_property
    def signers(self) -> dict[str, CryptoSigner]:
        """By the id of the key. Raises `NotFound`, `BadKey`, and `Refused` where others than the owner may read a
        key."""
        found = {}
        for folder in self.folders:
            if not folder.is_dir():
                raise NotFound(f"{folder}: no such folder", "give the folder of the private keys")
            for path in sorted(folder.glob(f"*{SUFFIX}")):
                signer = self._load(path)
                found[signer.public_key.keyid] = signer
        return found

    def of(self, ids: Iterable[str]) -> list[CryptoSigner]:
        """Those of these ids that are at hand, in their order."""
        return [self.signers[i] for i in ids if i in self.signers]

    def _load(self, path: Path) -> CryptoSigner:
        with open(path, "rb") as file:
            mode = os.fstat(file.fileno()).st_mode
            data = file.read(_MOST_BYTES)
        if mode & _OTHERS:
            raise Refused(
                f"{path}: others than its owner may use this private key (mode {stat.S_IMODE(mode):04o})",
                f"make sure that nobody has it, then: chmod 600 {path}",
                reason=Reason.NOT_OWNED,
            )
        private = None
        for phrase in dict.fromkeys((None, self.passphrase)):
            try:
                private = load_pem_private_key(data, phrase)
                break
            except (TypeError, ValueError):  # encrypted, or another passphrase, or no key
                continue
        if not isinstance(private, Ed25519PrivateKey):
            raise BadKey(
                f"{path}: no ed25519 key that can be opened{' with this passphrase' if self.passphrase else ''}",
                "give the passphrase with --passphrase-file, and keep other files out of the folder",
            )
        return CryptoSigner(private, SSlibKey.from_crypto(private.public_key()))
