"""The kernel's own symbol table, read out of the image: names, addresses, and the order that `sympos` counts in.

Source of the format: scripts/kallsyms.c of Linux 5.10, 6.1 and 6.12 (base-relative offsets with absolute per-CPU
symbols; names packed with a table of 256 tokens; stable releases of 6.1 have sequence numbers between markers and
tokens). Up to 6.3 offsets and base come before the names, later behind the tokens. The tables have no symbols of their
own in a stripped image, so they are found by what they must look like.
"""

from __future__ import annotations

import itertools
import re
import struct
from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property

from suture.error import Unsupported
from suture.number import Vaddr

_DIGITS = b"".join(bytes([c]) + b"\0" for c in b"0123456789")
_MASK = (1 << 64) - 1
_LEAST, _MOST = 1000, 1 << 22  # symbols that a kernel may have
_FAR = 32 << 20


@dataclass(frozen=True, slots=True)
class KernelSymbol:
    """One row: `type` as nm(1) spells it. Per-CPU symbols have their small offset as address."""

    address: Vaddr
    type: str
    name: str


class Kallsyms:
    """All symbols of vmlinux in the table's order."""

    def __init__(self, rows: Sequence[KernelSymbol]) -> None:
        self.rows = tuple(rows)

    @cached_property
    def by_name(self) -> dict[str, tuple[KernelSymbol, ...]]:
        """Rows of each name in the order that sympos counts."""
        found: dict[str, list[KernelSymbol]] = defaultdict(list)
        for row in self.rows:
            found[row.name].append(row)
        return {name: tuple(rows) for name, rows in found.items()}


def read(rodata: bytes, base: Vaddr, name: str) -> Kallsyms:
    """The table in the read-only data of an image whose code begins at `base`. Raises `Unsupported` when there is none
    like it."""
    for hit in re.finditer(re.escape(struct.pack("<Q", base)), rodata):
        rows = _offsets_first(rodata, hit.start(), base) or _offsets_last(rodata, hit.start(), base)
        if rows:
            return Kallsyms(rows)
    raise Unsupported(
        f"{name}: no symbol table of a known format in it", "CONFIG_KALLSYMS of Linux 5.10 to 6.12 is known"
    )


def _offsets_first(data: bytes, at: int, base: Vaddr) -> list[KernelSymbol]:
    """The table whose base stands at `at`: offsets before it, then count, names, markers, (sequence numbers,) tokens
    behind it."""
    count = struct.unpack_from("<I", data, at + 8)[0] if at + 16 < len(data) else 0
    head = at - (count * 4 + -count * 4 % 8)
    if not _LEAST < count < _MOST or head < 0:
        return []
    places = _places(data, at + 16, count)
    tokens = _tokens(data, places[-1][1]) if places else None
    return _symbols(data, head, places, tokens.texts, base) if tokens else []


def _offsets_last(data: bytes, at: int, base: Vaddr) -> list[KernelSymbol]:
    """The table whose base stands at `at`: count, names, markers, tokens and offsets before it."""
    for tokens in _all_tokens(data, max(0, at - 4 * _MOST), at):
        head = tokens.end + -tokens.end % 8
        most = (at - head) // 4
        for count in (most, most - 1):  # the base is aligned
            if not _LEAST < count < _MOST:
                continue
            mark = struct.pack("<I", count)
            start = data.rfind(mark, 0, tokens.start)
            while start >= 0:
                places = _places(data, start + 8, count) if start % 8 == 0 else []
                if places and places[-1][1] < tokens.start:
                    return _symbols(data, head, places, tokens.texts, base)
                start = data.rfind(mark, 0, start)
    return []


def _places(data: bytes, names: int, count: int) -> list[tuple[int, int]]:
    """Where each packed name begins and ends, if the markers behind them say the same; else nothing."""
    place, places = names, []
    for _ in range(count):
        if place + 2 >= len(data):
            return []
        start, length = _length(data, place)
        if length == 0:
            return []
        place = start + length
        places.append((start, place))
    return places if _marked(data, names, places, place) else []


def _symbols(
    data: bytes, head: int, places: Sequence[tuple[int, int]], tokens: Sequence[bytes], base: Vaddr
) -> list[KernelSymbol]:
    found = []
    offsets = struct.unpack_from(f"<{len(places)}i", data, head)
    for offset, (start, end) in zip(offsets, places, strict=True):
        text = b"".join(tokens[c] for c in data[start:end]).decode()
        # KALLSYMS_ABSOLUTE_PERCPU: positive offsets are absolute, negative ones count from base - 1 downwards
        address = offset if offset >= 0 else (base - 1 - offset) & _MASK
        found.append(KernelSymbol(Vaddr(address), text[0], text[1:]))
    return found


def _marked(data: bytes, names: int, places: Sequence[tuple[int, int]], end: int) -> bool:
    """Whether the markers behind the names say where every 256th name begins."""
    ends = [names, *(p[1] for p in places)]
    expected = [ends[n] - names for n in range(0, len(places), 256)]
    return struct.pack(f"<{len(expected)}I", *expected) in data[end : end + 8 + 4 * len(expected)]


@dataclass(frozen=True)
class _Tokens:
    """What each of the 256 codes of a packed name stands for; `start` of the texts, `end` of the index behind them."""

    texts: list[bytes]
    start: int
    end: int


def _tokens(data: bytes, after: int) -> _Tokens | None:
    return next(_all_tokens(data, after, after + _FAR), None)


def _all_tokens(data: bytes, low: int, high: int) -> Iterator[_Tokens]:
    """Tables of 256 tokens, found by those of the digits and proved by the index behind them."""
    for hit in re.finditer(re.escape(_DIGITS), data[low:high]):
        start = low + hit.start()
        for _ in range(ord("0")):  # one token ends before each earlier code
            start = data.rfind(b"\0", 0, start - 1) + 1
        at, ends = start, []
        for _ in range(257):
            ends.append(at - start)
            at = data.find(b"\0", at) + 1
        index = struct.pack("<256H", *(e & 0xFFFF for e in ends[:256]))
        last = start + ends[256]
        place = data.find(index, last, last + 16 + len(index))
        if place >= 0:
            texts = [data[start + a : start + b - 1] for a, b in itertools.pairwise(ends)]
            yield _Tokens(texts, start, place + len(index))


def _length(data: bytes, at: int) -> tuple[int, int]:
    """Start and length of a packed name; names longer than 127 codes have a second byte (Linux 6.1)."""
    length = data[at]
    if length & 0x80:
        return at + 2, length & 0x7F | data[at + 1] << 7
    return at + 1, length
