"""JSON from outside as frozen dataclasses: the one reader of manifests, those of processes and of the kernel.

A dataclass is the schema: an object has a member for each of its fields and no other, and each value is what the
field's type says. Nothing is converted, left out or made up. Standard library only.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import fields, is_dataclass
from enum import Enum
from typing import Any, NewType, TypeVar, get_args, get_origin, get_type_hints

MOST_TEXT = 16384
"""Characters of a name or a note, many times what any has. Texts of fixes are longer; the manifest as a whole has a
bound too."""
_SHOWN = 200

Read = Callable[[Any], Any]
"""From a value of the JSON to what the field holds. Raises ValueError or TypeError for what it cannot hold."""
T = TypeVar("T")


class Reader:
    """Reads dataclasses; `own` has the readers of fields of which the type alone does not tell what they may hold."""

    def __init__(self, own: Mapping[tuple[type, str], Read]) -> None:
        self._own = own
        self._known: dict[Any, Read] = {str: text, int: number, bool: flag}

    def read(self, value: Any, kind: type[T]) -> T:
        """Raises ValueError or TypeError for anything that is no such thing, in JSON as `json` gives it."""
        found: T = self._reader(kind)(value)
        return found

    def _reader(self, kind: Any) -> Read:
        known = self._known.get(kind)
        if known is None:
            known = self._known[kind] = self._made(kind)
        return known

    def _made(self, kind: Any) -> Read:
        if isinstance(kind, NewType):
            return self._reader(kind.__supertype__)
        if get_origin(kind) is tuple:
            one = self._reader(get_args(kind)[0])
            return lambda value: tuple(one(v) for v in rows(value))
        if get_origin(kind) is dict:
            of_key, of_value = (self._reader(k) for k in get_args(kind))
            return lambda value: {of_key(k): of_value(v) for k, v in members(value).items()}
        if is_dataclass(kind):
            return self._record(kind)
        if issubclass(kind, Enum):
            return lambda value: kind(value)
        raise AssertionError(f"{kind} is in no manifest")

    def _record(self, kind: Any) -> Read:
        types = get_type_hints(kind)
        readers = {f.name: self._own.get((kind, f.name)) or self._reader(types[f.name]) for f in fields(kind)}

        def read(value: Any) -> Any:
            if members(value).keys() != readers.keys():
                raise ValueError(f"{kind.__name__}: {_unlike(value, readers)}")
            return kind(**{name: one(value[name]) for name, one in readers.items()})

        return read


def _unlike(value: Mapping[str, Any], wanted: Mapping[str, Any]) -> str:
    missing = [n for n in wanted if n not in value]
    return f"has no {missing[0]}" if missing else f"has a {_short(next(n for n in value if n not in wanted))}"


def members(value: Any) -> dict[str, Any]:
    if not isinstance(value, dict):
        raise TypeError(f"{_short(value)} is not an object")
    return value


def rows(value: Any) -> list[Any]:
    if not isinstance(value, list):
        raise TypeError(f"{_short(value)} is not a list")
    return value


def text(value: Any) -> str:
    """A name or a note."""
    if not isinstance(value, str):
        raise TypeError(f"{_short(value)} is not a string")
    if len(value) > MOST_TEXT:
        raise ValueError(f"{_short(value)} has {len(value)} characters, more than {MOST_TEXT}")
    value.encode()  # a lone surrogate can be neither shown nor written again
    return value


def raw_text(value: Any) -> str:
    """A text that may hold bytes which are no UTF-8, as a fix may: escaped as os.fsdecode does (PEP 383)."""
    if not isinstance(value, str):
        raise TypeError(f"{_short(value)} is not a string")
    value.encode(errors="surrogateescape")
    return value


def number(value: Any) -> int:
    """An address, a size or a count: a whole number of 64 bits without a sign."""
    if not isinstance(value, int) or isinstance(value, bool) or not 0 <= value < 1 << 64:
        raise TypeError(f"{_short(value)} is not an address or size")
    return value


def flag(value: Any) -> bool:
    if not isinstance(value, bool):
        raise TypeError(f"{_short(value)} is neither true nor false")
    return value


def _short(value: Any) -> str:
    return repr(value if not isinstance(value, list | dict) else type(value))[:_SHOWN]
