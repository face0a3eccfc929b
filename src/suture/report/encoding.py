"""Documents as JSON and back. What is read has to be what the types say; fields that are not known are left out, as a
newer version may have added them."""

from __future__ import annotations

import dataclasses
import json
import types
from collections.abc import Mapping
from enum import Enum
from functools import cache
from typing import Any, TypeVar, Union, get_args, get_origin, get_type_hints

from suture import __version__
from suture.report.document import DOCUMENTS, FORMAT, Document

T = TypeVar("T")
_BY_KIND = {d.kind: d for d in DOCUMENTS}
_TOOL = {"name": "suture", "version": __version__}


class NoDocument(ValueError):
    """What was read is none of the documents."""


def encode(document: Document) -> dict[str, Any]:
    """The document as `json.dumps` takes it; one within it says what it is too."""
    encoded = plain(document)
    assert isinstance(encoded, dict)
    return encoded


def plain(value: Any) -> Any:
    """A value of this vocabulary for JSON: enums become their values, tuples lists."""
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        head = {"format": FORMAT, "kind": value.kind, "tool": _TOOL} if isinstance(value, Document) else {}
        return head | {f.name: plain(getattr(value, f.name)) for f in dataclasses.fields(value)}
    if isinstance(value, Enum):
        return value.value
    if isinstance(value, Mapping):
        return {plain(k): plain(v) for k, v in value.items()}
    if isinstance(value, list | tuple):
        return [plain(v) for v in value]
    return value


def compact(value: Any) -> bytes:
    """A value of this vocabulary, or a document that is encoded, as JSON without a blank or a line's end."""
    return json.dumps(plain(value), separators=(",", ":")).encode()


def decode(read: Any) -> Document:
    """The document from what `json.loads` gave. Raises `NoDocument`."""
    if not isinstance(read, dict) or read.get("format") != FORMAT or str(read.get("kind")) not in _BY_KIND:
        raise NoDocument("no document of this format")
    found = _object(_BY_KIND[read["kind"]], read, str(read["kind"]))
    assert isinstance(found, Document)
    return found


def of_type(kind: type[T], read: Any, where: str) -> T:
    """A dataclass of this vocabulary from what `json.loads` gave, named `where` in errors. Raises `NoDocument`."""
    found: T = _object(kind, read, where)
    return found


def _object(cls: type[Any], value: Any, where: str) -> Any:
    if not isinstance(value, dict):
        raise NoDocument(f"{where}: no object")
    hints, needed = _fields(cls)  # type: ignore[arg-type]
    missing = [name for name in needed if name not in value]
    if missing:
        raise NoDocument(f"{where}: without {missing[0]}")
    return cls(**{n: _value(kind, value[n], f"{where}.{n}") for n, kind in hints.items() if n in value})


@cache
def _fields(cls: type[Any]) -> tuple[dict[str, Any], tuple[str, ...]]:
    """The types of a class's fields, and those that every document has to have."""
    hints, fields = get_type_hints(cls), dataclasses.fields(cls)
    return {f.name: hints[f.name] for f in fields}, tuple(f.name for f in fields if not _has_default(f))


def _has_default(field: dataclasses.Field[Any]) -> bool:
    """Whether the field has come since the first version of its document, so that older ones are without it."""
    return field.default is not dataclasses.MISSING or field.default_factory is not dataclasses.MISSING


def _value(kind: Any, value: Any, where: str) -> Any:
    origin, parts = get_origin(kind), get_args(kind)
    if kind is Any:
        return value
    if origin in (Union, types.UnionType):
        return None if value is None else _value(next(p for p in parts if p is not types.NoneType), value, where)
    if origin is tuple and isinstance(value, list):
        return tuple(_value(parts[0], v, f"{where}[{n}]") for n, v in enumerate(value))
    if origin is Mapping and isinstance(value, dict):
        return {_value(parts[0], k, where): _value(parts[1], v, f"{where}.{k}") for k, v in value.items()}
    if dataclasses.is_dataclass(kind) and isinstance(kind, type):
        return _object(kind, value, where)
    if isinstance(kind, type) and issubclass(kind, Enum):
        try:
            return kind(value)
        except ValueError as problem:
            raise NoDocument(f"{where}: {str(value)[:80]!r} is not known") from problem
    if kind is float and isinstance(value, int | float) and not isinstance(value, bool):
        return float(value)
    if kind in (str, int, bool) and type(value) is kind:
        return value
    raise NoDocument(f"{where}: of another type")
