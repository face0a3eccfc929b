"""Names of functions as the linker has them, and as their source writes them."""

from __future__ import annotations

import re
from collections.abc import Collection, Sequence

from suture.command import run

_MANGLED = "_Z"
_LAMBDA = re.compile(r"(?:\([^()]*\))?::\{(?:lambda|unnamed).*")
_ANONYMOUS = "(anonymous namespace)::"
_THUNK = re.compile(r"(?:non-)?virtual thunk to (.*?)(?:\(.*)?\Z|covariant return thunk to (.*?)(?:\(.*)?\Z")
_ARGUMENTS = re.compile(r"<[^<>]*>")


def in_source(symbols: Sequence[str]) -> tuple[str, ...]:
    """The names in their order, those of C++ without parameters and template arguments, as c++filt of binutils reads
    them. A lambda has the name of the function that it stands in, a thunk that of the function it leads to."""
    if not any(s.startswith(_MANGLED) for s in symbols):
        return tuple(symbols)
    said = run(["c++filt", "--no-params"], stdin="\n".join(symbols).encode(errors="surrogateescape")).split("\n")
    return tuple(_plain(name) if s.startswith(_MANGLED) else s for s, name in zip(symbols, said, strict=False))


def is_one_of(name: str, meant: Collection[str]) -> bool:
    """Whether a name of `in_source` is one of those that a source file defines. What a file defines in a namespace or
    a class may be without it, or with the innermost alone."""
    if name in meant:
        return True
    parts = name.split("::")
    return any("::".join(parts[n:]) in meant for n in range(1, len(parts)))


def _plain(name: str) -> str:
    thunk = _THUNK.match(name)
    if thunk:
        name = thunk[1] or thunk[2]
    name = _LAMBDA.sub("", name.replace(_ANONYMOUS, ""))
    before = ""
    while before != name and "operator<" not in name:
        before, name = name, _ARGUMENTS.sub("", name)
    return name
