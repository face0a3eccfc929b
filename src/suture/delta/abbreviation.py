"""Abbreviations of .debug_abbrev: which attributes an entry has and in which forms, cut into pieces read at once."""

from __future__ import annotations

import struct
from collections.abc import Iterator
from dataclasses import dataclass

from suture.delta.die import At
from suture.delta.form import FIXED, FLAG_PRESENT, IMPLICIT_CONST
from suture.delta.leb128 import sleb, uleb

_WANTED = frozenset(At)


@dataclass(frozen=True, slots=True)
class Abbreviation:
    tag: int
    has_children: bool
    constants: tuple[tuple[int, int], ...]
    pieces: tuple[tuple[struct.Struct | None, tuple[tuple[int, int], ...]], ...]


def pieces(fields: list[tuple[int, int]]) -> Iterator[tuple[struct.Struct | None, tuple[tuple[int, int], ...]]]:
    """Runs of fields of fixed size, each as one Struct that skips what is not wanted; a field of variable size stands
    alone."""
    text, names = "<", []
    for name, form in fields:
        size = FIXED.get(form)
        if size is not None:
            if name in _WANTED:
                text += size
                names.append((name, form))
            else:
                text += f"{struct.calcsize('<' + size)}x"
            continue
        if text != "<":
            yield struct.Struct(text), tuple(names)
        text, names = "<", []
        yield None, ((name if name in _WANTED else 0, form),)
    if text != "<":
        yield struct.Struct(text), tuple(names)


def abbreviations(data: bytes, at: int) -> dict[int, Abbreviation]:
    """Those of one unit by their code; `data` is .debug_abbrev, `at` where the unit's begin (DWARF 5, 7.5.3)."""
    found: dict[int, Abbreviation] = {}
    while True:
        code, at = uleb(data, at)
        if code == 0:
            return found
        tag, at = uleb(data, at)
        has_children = bool(data[at])
        at += 1
        fields: list[tuple[int, int]] = []
        constants: list[tuple[int, int]] = []
        while True:
            name, at = uleb(data, at)
            form, at = uleb(data, at)
            if form == IMPLICIT_CONST:
                value, at = sleb(data, at)
                constants.append((name, value))
            elif form == FLAG_PRESENT:
                constants.append((name, 1))
            elif name == form == 0:
                break
            else:
                fields.append((name, form))
        found[code] = Abbreviation(
            tag,
            has_children,
            tuple((n, v) for n, v in constants if n in _WANTED),
            tuple(pieces(fields)),
        )
