"""Memory of a process that is really there, and the words in it that lead into forbidden code."""

from __future__ import annotations

import os
import re
from array import array
from bisect import bisect_right
from collections.abc import Iterator, Sequence
from itertools import accumulate

from suture.process import syscall
from suture.process.proc import open_file
from suture.process.stack.stack import NO_THREAD, Forbidden, StackUnknown

_PAGE = 4096
_WORD = 8
_MOST_GAP = 1 << 20
_MOST_PAGES = 1 << 17  # of which the kernel is asked at once
_PIECE = 1 << 20  # searched at once: it stays in the processor's cache
# Documentation/admin-guide/mm/pagemap.rst: bit 63 present, bit 62 swapped, bit 61 a page of a file or of shared memory,
# so never written to in a private mapping
_IS_THERE = bytes(int(b & 0xC0 != 0 and b & 0x20 == 0) for b in range(256))
_RUN = re.compile(b"\x01+")


class Resident:
    """Of one process, until `close`. Raises NoProcess, NoPermission."""

    def __init__(self, pid: int) -> None:
        self.pid = pid
        self._pagemap = open_file(pid, "pagemap")
        self._buffer = bytearray(_PIECE)
        self._base = syscall.address_of(self._buffer)

    def close(self) -> None:
        os.close(self._pagemap)

    def pages(self, spans: Sequence[tuple[int, int]]) -> list[array[int]]:
        """(address, size, address, size, ...) of the pages of private memory that are there, for each span (start, end)
        of whole pages, by rising address. One read for spans that lie close together. Raises StackUnknown."""
        found: list[array[int]] = []
        at = 0
        while at < len(spans):
            last = at
            while last + 1 < len(spans) and spans[last + 1][0] - spans[last][1] <= _MOST_GAP:
                last += 1
            low = spans[at][0]
            present = self._present(low, (spans[last][1] - low) // _PAGE)
            for start, end in spans[at : last + 1]:
                row = array("Q")
                for run in _RUN.finditer(present, (start - low) // _PAGE, (end - low) // _PAGE):
                    row.extend((low + run.start() * _PAGE, (run.end() - run.start()) * _PAGE))
                found.append(row)
            at = last + 1
        return found

    def _present(self, low: int, count: int) -> bytes:
        parts = []
        for first in range(0, count, _MOST_PAGES):
            size = min(_MOST_PAGES, count - first)
            part = os.pread(self._pagemap, size * _WORD, (low // _PAGE + first) * _WORD)[7::_WORD].translate(_IS_THERE)
            if len(part) != size:
                raise StackUnknown(NO_THREAD, "has pages of which the kernel does not tell whether they are there")
            parts.append(part)
        return b"".join(parts)

    def words(self, ranges: array[int], forbidden: Forbidden) -> Iterator[tuple[int, int]]:
        """(address, value) of each word in `ranges` (address, size, ...) that a forbidden range may hold. Raises
        StackUnknown."""
        for piece in _pieces(ranges):
            size = sum(piece[1::2])
            if syscall.process_vm_readv_into(self.pid, self._base, piece) != size:
                raise StackUnknown(NO_THREAD, "cannot be read")
            offsets = list(accumulate(piece[1::2], initial=0))
            for offset, value in forbidden.words_in(self._buffer, size):
                if forbidden.low <= value < forbidden.high:
                    at = bisect_right(offsets, offset) - 1
                    yield piece[2 * at] + offset - offsets[at], value


def _pieces(ranges: array[int]) -> Iterator[array[int]]:
    piece, room = array("Q"), _PIECE
    for at in range(0, len(ranges), 2):
        address, size = ranges[at], ranges[at + 1]
        while size:
            part = min(size, room)
            piece.extend((address, part))
            address, size, room = address + part, size - part, room - part
            if not room or len(piece) >= 2 * syscall.IOV_MAX:
                yield piece
                piece, room = array("Q"), _PIECE
    if piece:
        yield piece
