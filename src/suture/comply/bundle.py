"""Evidence in one file: documents with their digests, signed by the server's key (Ed25519), checked without the
server. What signs is given from outside; nothing here holds a key."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from suture.error import ExitCode, SutureError

FORMAT = 1
_CONTEXT = b"suture comply evidence 1\n"

Sign = Callable[[bytes], bytes]
IsSigned = Callable[[bytes, bytes, bytes], bool]


class BadBundle(SutureError):
    """A bundle is not what the key has signed."""

    exit_code = ExitCode.UNTRUSTED


@dataclass(frozen=True)
class EvidenceBundle:
    """`files` by name. `key` is the public one (32 bytes) that signed."""

    made: str
    server: str
    key: bytes
    files: Mapping[str, bytes]


def seal(bundle: EvidenceBundle, sign: Sign) -> bytes:
    """The bundle as a file: JSON; the signature is over the digests of all files and over who made it when."""
    statement = _statement(bundle)
    return json.dumps(
        {
            "statement": statement.decode(),
            "signature": sign(_CONTEXT + statement).hex(),
            "files": {n: d.decode() for n, d in sorted(bundle.files.items())},
        }
    ).encode()


def open_sealed(data: bytes, key: bytes, is_signed: IsSigned) -> EvidenceBundle:
    """What `seal` wrote, checked. Raises `BadBundle`."""
    try:
        raw = json.loads(data)
        statement = raw["statement"].encode()
        signature = bytes.fromhex(raw["signature"])
        said = json.loads(statement)
        files = {str(n): str(d).encode() for n, d in raw["files"].items()}
        bundle = EvidenceBundle(str(said["made"]), str(said["server"]), bytes.fromhex(said["key"]), files)
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as problem:
        raise BadBundle(f"no bundle of evidence ({problem!r})", "get it again from the server") from problem
    if bundle.key != key or not is_signed(key, _CONTEXT + statement, signature):
        raise BadBundle("the key that was given has not signed this bundle", "compare the key with the server's own")
    if _statement(bundle) != statement:
        raise BadBundle("a file of the bundle was changed after it was signed", "get it again from the server")
    return bundle


def _statement(bundle: EvidenceBundle) -> bytes:
    digests = {n: hashlib.sha256(d).hexdigest() for n, d in bundle.files.items()}
    said = {
        "format": FORMAT,
        "made": bundle.made,
        "server": bundle.server,
        "key": bundle.key.hex(),
        "sha256": digests,
    }
    return json.dumps(said, sort_keys=True, separators=(",", ":")).encode()
