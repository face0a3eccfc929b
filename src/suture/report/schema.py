"""The JSON schema of all documents, from their types. `suture schema` prints it."""

from __future__ import annotations

import dataclasses
import types
from collections.abc import Mapping
from enum import Enum
from typing import Any, Union, get_args, get_origin, get_type_hints

from suture.report.document import DOCUMENTS, FORMAT, Document

DIALECT = "https://json-schema.org/draft/2020-12/schema"
_PLAIN = {str: "string", int: "integer", float: "number", bool: "boolean"}
_TOOL = {
    "type": "object",
    "properties": {"name": {"const": "suture"}, "version": {"type": "string"}},
    "required": ["name", "version"],
}


def schema(*, strict: bool = False) -> dict[str, Any]:
    """The schema. `strict`: for what this version writes, without room for fields that a newer one may add."""
    made = _Schema(strict)
    documents = [made.reference(d) for d in DOCUMENTS]
    return {
        "$schema": DIALECT,
        "$id": f"urn:suture:report:{FORMAT}",
        "title": f"What suture --json prints, format {FORMAT}",
        "oneOf": documents,
        "$defs": dict(sorted(made.found.items())),
    }


def described() -> tuple[type[Any], ...]:
    """All types that the documents are made of, by name."""
    made = _Schema(False)
    for document in DOCUMENTS:
        made.reference(document)
    return tuple(made.types[name] for name in sorted(made.types))


class _Schema:
    def __init__(self, strict: bool) -> None:
        self.strict = strict
        self.types: dict[str, type[Any]] = {}
        self.found: dict[str, dict[str, Any]] = {}

    def reference(self, kind: type[Any]) -> dict[str, Any]:
        if kind.__name__ not in self.found:
            self.types[kind.__name__] = kind
            self.found[kind.__name__] = {}  # its place, for a type that holds itself
            self.found[kind.__name__] = self._enum(kind) if issubclass(kind, Enum) else self._object(kind)
        return {"$ref": f"#/$defs/{kind.__name__}"}

    def _enum(self, kind: type[Enum]) -> dict[str, Any]:
        # one that is not known has to be shown as it is, so a newer version may add some
        values = [m.value for m in kind]
        listed: dict[str, Any] = {"enum": values} if self.strict else {"type": "string", "examples": values}
        return {"description": _first(kind), **listed}

    def _object(self, kind: type[Any]) -> dict[str, Any]:
        hints = get_type_hints(kind)
        properties = {f.name: self.of(hints[f.name]) for f in dataclasses.fields(kind)}
        if issubclass(kind, Document):
            head: dict[str, Any] = {"format": {"const": FORMAT}, "kind": {"const": kind.kind}, "tool": _TOOL}
            properties = head | properties
        made = {
            "description": _first(kind),
            "type": "object",
            "properties": properties,
            "required": list(properties),
        }
        return made | ({"additionalProperties": False} if self.strict else {})

    def of(self, kind: Any) -> dict[str, Any]:
        origin, parts = get_origin(kind), get_args(kind)
        if kind is Any:
            return {}
        if origin in (Union, types.UnionType):
            return {"anyOf": [self.of(next(p for p in parts if p is not types.NoneType)), {"type": "null"}]}
        if origin is tuple:
            return {"type": "array", "items": self.of(parts[0])}
        if origin is Mapping:
            keys = {} if parts[0] is str else {"propertyNames": self.of(parts[0])}
            return {"type": "object", "additionalProperties": self.of(parts[1]), **keys}
        if kind in _PLAIN:
            return {"type": _PLAIN[kind]}
        return self.reference(kind)


def _first(kind: type[Any]) -> str:
    """The docstring as one paragraph."""
    return " ".join((kind.__doc__ or "").split())
