"""Where two files begin to differ, in words."""

from __future__ import annotations


def first_difference(a: bytes, b: bytes) -> str:
    at = next((n for n, (x, y) in enumerate(zip(a, b, strict=False)) if x != y), min(len(a), len(b)))
    return f"the first difference is at byte {at} of {len(a)} and {len(b)}"
