"""A file taken apart at its functions, so that each can be merged with its own counterpart."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass

from suture.els.token import code
from suture.tripwire import syntax


@dataclass(frozen=True)
class OutlineSection:
    """A function, or what stands between two. `key` is the function's name; of what stands between, that of the
    function before it behind a blank. Where a name comes several times, as in branches of #if, its number is added."""

    key: str
    text: str

    @property
    def is_function(self) -> bool:
        return not self.key.startswith(" ")


def sections(path: str, text: str) -> tuple[OutlineSection, ...]:
    """The sections of a file in order; joined they are its text. A file in another language than C or C++ is one."""
    if not syntax.is_source(path):
        return (OutlineSection(" ", text),)
    data = text.encode(errors="surrogateescape")
    found: list[OutlineSection] = []
    seen: Counter[str] = Counter()
    at, last = 0, ""

    def add(key: str, start: int, end: int) -> None:
        found.append(OutlineSection(key, data[start:end].decode(errors="surrogateescape")))

    for node in syntax.walk(syntax.parse(path, data)):
        name = syntax.defined(node)
        if not name or node.start_byte < at:
            continue
        seen[name] += 1
        key = name if seen[name] == 1 else f"{name} {seen[name]}"
        add(f" {last}", at, node.start_byte)
        add(key, node.start_byte, node.end_byte)
        at, last = node.end_byte, key
    add(f" {last}", at, len(data))
    return tuple(found)


def changed(path: str, before: str, after: str) -> tuple[str, ...]:
    """The keys of sections whose code differs between two texts of a file, those that come or go among them."""
    old = {s.key: code(s.text) for s in sections(path, before)}
    new = {s.key: code(s.text) for s in sections(path, after)}
    return tuple(k for k in dict.fromkeys([*old, *new]) if old.get(k, ()) != new.get(k, ()))
