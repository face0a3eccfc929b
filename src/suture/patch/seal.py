"""The end of a patch file: a digest of everything before it, so that no altered byte is ever placed in a process.

It tells an accident or an altered copy from the file that was made, not one maker from another: who made a patch is
told by the signed list that names the whole file's SHA-256 (docs/reference/patch-format.md, "The end of the file").
"""

from __future__ import annotations

import hashlib

from suture.patch.manifest import BadPatch
from suture.report.reason import Reason

_MARK = b"SUTURE-SHA256-1\n"
_SIZE = len(_MARK) + hashlib.sha256().digest_size


def seal(content: bytes) -> bytes:
    """The file's bytes: the content with its digest behind it."""
    return content + _MARK + hashlib.sha256(content).digest()


def check_seal(data: bytes, name: str) -> None:
    """Raises `BadPatch` unless the file ends in the digest of its content."""
    content, end = data[:-_SIZE], data[-_SIZE:]
    if not end.startswith(_MARK):
        raise BadPatch(
            name,
            "does not end in a digest of its content: it was cut off, altered, or made by an earlier version",
            reason=Reason.PATCH_ALTERED,
        )
    if end != _MARK + hashlib.sha256(content).digest():
        raise BadPatch(name, "its content is not what its digest says: it was altered", reason=Reason.PATCH_ALTERED)
