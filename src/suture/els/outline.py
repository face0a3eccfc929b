"""A file taken apart at its functions, so that each can be merged with its own counterpart."""

from __future__ import annotations

import re
from collections import Counter
from dataclasses import dataclass

from suture.els.token import code
from suture.tripwire import syntax

_SCOPES = ("class_specifier", "struct_specifier", "namespace_definition")
_NUMBER = re.compile(r" \d+\Z")


@dataclass(frozen=True)
class OutlineSection:
    """A function, or what stands between two. `key` is the function's name; of what stands between, that of the
    function before it behind a blank. Where a name comes several times, as in branches of #if, its number is added.
    `scope` are the classes and namespaces around it (C++)."""

    key: str
    text: str
    scope: str = ""

    @property
    def is_function(self) -> bool:
        return not self.key.startswith(" ")

    @property
    def name(self) -> str:
        """The function's name with the classes and namespaces that it stands in."""
        own = _NUMBER.sub("", self.key)
        return f"{self.scope}::{own}" if self.scope else own


def sections(path: str, text: str) -> tuple[OutlineSection, ...]:
    """The sections of a file in order; joined they are its text. A file in another language than C or C++ is one."""
    if not syntax.is_source(path):
        return (OutlineSection(" ", text),)
    data = text.encode(errors="surrogateescape")
    found: list[OutlineSection] = []
    seen: Counter[str] = Counter()
    at, last = 0, ""

    def add(key: str, start: int, end: int, scope: str = "") -> None:
        found.append(OutlineSection(key, data[start:end].decode(errors="surrogateescape"), scope))

    for node in syntax.walk(syntax.parse(path, data)):
        name = syntax.defined(node)
        if not name or node.start_byte < at:
            continue
        seen[name] += 1
        key = name if seen[name] == 1 else f"{name} {seen[name]}"
        add(f" {last}", at, node.start_byte)
        add(key, node.start_byte, node.end_byte, _scope(node))
        at, last = node.end_byte, key
    add(f" {last}", at, len(data))
    return tuple(found)


def changed(path: str, before: str, after: str) -> tuple[str, ...]:
    """The keys of sections whose code differs between two texts of a file, those that come or go among them."""
    old = {s.key: code(s.text) for s in sections(path, before)}
    new = {s.key: code(s.text) for s in sections(path, after)}
    return tuple(k for k in dict.fromkeys([*old, *new]) if old.get(k, ()) != new.get(k, ()))


def _scope(node: syntax.Node) -> str:
    """The classes and namespaces that a node stands in, joined as in its qualified name; "" for none."""
    named = (syntax.plain(one.child_by_field_name("name")) for one in syntax.above(node) if one.type in _SCOPES)
    return "::".join(reversed([name for name in named if name]))
