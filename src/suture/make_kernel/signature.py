"""Signing a patch module with a given key, as scripts/sign-file.c of the kernel does it: PKCS#7, detached, appended."""

from __future__ import annotations

import struct
from pathlib import Path

from suture.command import run
from suture.error import NotFound
from suture.kernel.manifest import unsigned
from suture.source import cache

_MAGIC = b"~Module signature appended~\n"
_PKCS7 = 2  # enum pkey_id_type


def sign(data: bytes, key: Path, certificate: Path) -> bytes:
    """The module with a signature behind it, in place of any that it had. Raises `NotFound`, `CommandFailed`."""
    for path in (key, certificate):
        if not path.is_file():
            raise NotFound(f"{path}: no such file", "give a private key and its X.509 certificate, both in PEM")
    plain = unsigned(data)

    def make(folder: Path) -> bytes:
        (folder / "module").write_bytes(plain)
        out = folder / "signature"
        how = ["-sign", "-binary", "-noattr", "-nocerts", "-nosmimecap", "-md", "sha256", "-outform", "DER"]
        own = ["-inkey", str(key), "-signer", str(certificate)]
        run(["openssl", "cms", *how, *own, "-in", str(folder / "module"), "-out", str(out)])
        return out.read_bytes()

    made = cache.scratch(cache.root() / "run", make)
    # struct module_signature: algo, hash, id_type, signer_len, key_id_len, three bytes of padding, sig_len (big-endian)
    return plain + made + struct.pack(">BBBBB3xI", 0, 0, _PKCS7, 0, 0, len(made)) + _MAGIC
