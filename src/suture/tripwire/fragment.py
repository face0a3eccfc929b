"""The pieces of a file that hold statements: its functions as the parser sees them, and the definition of each macro,
read as if it were the body of a function."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from suture.tripwire import syntax
from suture.tripwire.syntax import Node

_DEFINE = re.compile(rb"^[ \t]*#[ \t]*define[ \t]+(\w+)(?:\([^()]*\))?", re.M)


@dataclass(frozen=True)
class Fragment:
    """`root` is its tree. A place in it and one in the file differ by `bytes` and `rows`."""

    root: Node
    bytes: int = 0
    rows: int = 0
    is_macro: bool = False

    def own_lines(self, numbers: Mapping[int, str]) -> dict[int, str]:
        """Lines of the file by their number in the fragment."""
        return {n - self.rows: text for n, text in numbers.items()}


def fragments(path: str, text: bytes, touched: Mapping[int, str], is_cxx: bool) -> Iterator[Fragment]:
    """The file itself, and the macros in it that touched lines are in."""
    root = syntax.parse(path, text, is_cxx)
    yield Fragment(root)
    for match in _DEFINE.finditer(text):  # the parser loses its way in those that hold comments
        start, end = match.end(), _end(text, match.end())
        definition, row = text[start:end], text.count(b"\n", 0, start)
        first, last = text.count(b"\n", 0, match.start()) + 1, row + 1 + definition.count(b"\n")
        if b";" in definition and any(first <= n <= last for n in touched):
            head = b"void " + match[1] + b" (void) { "
            body = head + definition.replace(b"\\\n", b" \n") + b" ; }"
            yield Fragment(syntax.parse(path, body, is_cxx), start - len(head), row, True)


def _end(text: bytes, start: int) -> int:
    """Where the line that begins at `start` ends, with all that continue it."""
    end = text.find(b"\n", start)
    while end > 0 and text[end - 1 : end] == b"\\":
        end = text.find(b"\n", end + 1)
    return end if end >= 0 else len(text)
