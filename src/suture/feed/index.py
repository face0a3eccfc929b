"""Which build-ids a product has patches for, in two bytes each: a host asks for no more than it needs.

A host has hundreds of binaries mapped, and a feed has patches for few of them. The index is a sorted list of
fingerprints (24 bits of SHA-256), as distances to the one before in LEB128 numbers. It may say yes where there is
nothing, once in 1,700 times for 10,000 build-ids, and then the host asks in vain; it never says no where there is
something.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable

_MARK = b"SUTURE-INDEX-1\n"
_BYTES = 3
_MOST = 1 << (8 * _BYTES)


class BadIndex(ValueError):
    """What was read is no index."""


def fingerprint(build_id: str) -> int:
    """24 bits of a build-id."""
    return int.from_bytes(hashlib.sha256(build_id.encode()).digest()[:_BYTES], "big")


def pack(fingerprints: Iterable[int]) -> bytes:
    """The index as a file."""
    out, last = bytearray(_MARK), -1
    for value in sorted(set(fingerprints)):
        gap, last = value - last - 1, value
        while gap >= 0x80:
            out.append(gap & 0x7F | 0x80)
            gap >>= 7
        out.append(gap)
    return bytes(out)


def unpack(data: bytes) -> frozenset[int]:
    """The fingerprints of an index. Raises `BadIndex`."""
    if not data.startswith(_MARK):
        raise BadIndex("no index of build-ids")
    found: set[int] = set()
    value, shift, last = 0, 0, -1
    for byte in data[len(_MARK) :]:
        value |= (byte & 0x7F) << shift
        shift += 7
        if byte & 0x80:
            if shift > 8 * _BYTES:
                raise BadIndex("a number of the index is too long")
            continue
        last += value + 1
        if last >= _MOST:
            raise BadIndex("a number of the index is too large")
        found.add(last)
        value = shift = 0
    if shift:
        raise BadIndex("the index was cut off")
    return frozenset(found)
