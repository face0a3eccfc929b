"""Every document as JSON: what is written fits the schema, and is read back as it was."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import fields, is_dataclass, replace
from enum import Enum
from typing import Any, ClassVar, get_args, get_origin, get_type_hints

import jsonschema
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from suture.error import ExitCode
from suture.report.document import DOCUMENTS, ApplyReport, Document, ErrorReport, MadePatch, VerifyReport
from suture.report.encoding import NoDocument, decode, encode
from suture.report.reason import Reason
from suture.report.schema import schema

STRICT, OPEN = (jsonschema.Draft202012Validator(schema(strict=s)) for s in (True, False))
ERROR = ErrorReport("2026-11-27T17:00:00.000Z", int(ExitCode.REFUSED), "what", "do", Reason.OVERLAP)


def tuples(kind: Any) -> st.SearchStrategy[tuple[Any, ...]]:
    """Of any length, two at most: documents within documents would else have thousands of members."""
    parts = get_args(kind)
    if parts[-1] is Ellipsis:
        return st.lists(st.from_type(parts[0]), max_size=2).map(tuple)
    return st.tuples(*map(st.from_type, parts))


def mappings(kind: Any) -> st.SearchStrategy[dict[Any, Any]]:
    keys, values = get_args(kind)
    return st.dictionaries(st.from_type(keys), st.from_type(values), max_size=2)


st.register_type_strategy(tuple, tuples)
st.register_type_strategy(Mapping, mappings)
st.register_type_strategy(str, st.text(max_size=8))
st.register_type_strategy(float, st.floats(allow_nan=False, allow_infinity=False))


def as_json(document: Document) -> Any:
    return json.loads(json.dumps(encode(document)))


def documents(kind: type[Document]) -> st.SearchStrategy[Document]:
    anything = st.dictionaries(st.text(max_size=4), st.integers(), max_size=2)
    given_fields: dict[str, st.SearchStrategy[Any]] = {}
    if kind.kind == "show":
        given_fields["manifest"] = anything
    if kind.kind in {"watch", "els-live"}:
        given_fields["conversions"] = st.tuples(anything)
    if kind.kind == "make":
        given_fields["patches"] = st.tuples(st.builds(MadePatch, ledgers=st.tuples(anything)))
    return st.builds(kind, **given_fields)


@pytest.mark.parametrize("kind", DOCUMENTS, ids=lambda d: d.kind)
def test_what_is_written_fits_the_schema_and_is_read_back_as_it_was(kind: type[Document]) -> None:
    @settings(max_examples=15, deadline=None, suppress_health_check=list(HealthCheck))
    @given(documents(kind))
    def check(document: Document) -> None:
        written = as_json(document)
        STRICT.validate(written)
        OPEN.validate(written)
        assert decode(written) == document

    check()


def test_the_schema_is_one() -> None:
    for validator in (STRICT, OPEN):
        jsonschema.Draft202012Validator.check_schema(validator.schema)


@pytest.mark.parametrize(
    "change",
    [{"reason": 5}, {"exit_code": "3"}, {"exit_code": True},
    {"time": None}, {"format": 2}, {"kind": "scan"}, {"remedy": ["x"]}],
    ids=str,
)  # fmt: skip
def test_what_is_no_document_fits_no_schema_and_is_not_read(change: dict[str, Any]) -> None:
    written = {**as_json(ERROR), **change}
    assert not STRICT.is_valid(written) and not OPEN.is_valid(written)
    with pytest.raises(NoDocument):
        decode(written)


def test_a_field_that_is_missing_is_named() -> None:
    written = as_json(ERROR)
    del written["remedy"]
    assert not OPEN.is_valid(written)
    with pytest.raises(NoDocument, match="remedy"):
        decode(written)


def test_a_field_of_a_newer_version_is_left_out() -> None:
    written = {**as_json(ERROR), "new": 1}
    assert OPEN.is_valid(written) and not STRICT.is_valid(written)
    assert decode(written) == ERROR


@pytest.mark.parametrize("value", [None, [], 1, "x", {}, {"format": 1}, {"format": 1, "kind": []}], ids=str)
def test_what_is_no_document_at_all(value: Any) -> None:
    with pytest.raises(NoDocument):
        decode(value)


def named_in(kind: Any) -> Iterator[type]:
    """All types that an annotation names."""
    if get_args(kind):
        for part in get_args(kind):
            yield from named_in(part)
    elif isinstance(kind, type):
        yield kind


def vocabulary() -> set[type]:
    """The classes of documents and of what they hold, with the classes that these extend."""
    found: set[type] = set()
    todo: list[type] = [*DOCUMENTS]
    while todo:
        kind = todo.pop()
        if not kind.__module__.startswith("suture.report.") or issubclass(kind, Enum) or kind in found:
            continue
        found.add(kind)
        todo += [part for hint in get_type_hints(kind).values() for part in named_in(hint)]
        todo += kind.__bases__
    return found


def test_each_class_of_the_vocabulary_is_a_dataclass_of_its_own_with_all_that_it_names() -> None:
    for kind in vocabulary():
        assert "__dataclass_params__" in vars(kind), f"{kind} lost its decorator"
        held = {n for n, hint in get_type_hints(kind).items() if get_origin(hint) is not ClassVar}
        assert {f.name for f in fields(kind)} == held, kind


def test_values_of_a_document_cannot_be_changed() -> None:
    assert all(is_dataclass(d) and d.__dataclass_params__.frozen for d in vocabulary())  # type: ignore[attr-defined]
    assert replace(ERROR, error="other") != ERROR
    assert {ApplyReport.kind, VerifyReport.kind} == {"apply", "verify"}


def test_a_value_that_is_not_known_is_told_and_no_more_of_it_than_a_line() -> None:
    for value, told in (("x" * 80, "x" * 80), ("x" * 81, "x" * 80)):
        with pytest.raises(NoDocument) as raised:
            decode({**as_json(ERROR), "reason": value})
        assert str(raised.value) == f"error.reason: {told!r} is not known"
