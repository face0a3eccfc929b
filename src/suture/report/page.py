"""docs/reference/report.md: `python -m suture.report.page` prints it."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from enum import Enum
from typing import Any

from suture.report.document import DOCUMENTS, FORMAT
from suture.report.hole import HoleState
from suture.report.meaning import KINDS, MEANING
from suture.report.schema import described, schema

_HEAD = f"""\
# Reports

Every verb prints one JSON document with `--json`. It is what a host passes on and what is stored. This page lists all
of it; `suture schema` prints the JSON schema, which is also in [report.schema.json](report.schema.json).

The format is {FORMAT}. It goes up when a field goes away or means another thing. A newer version may add fields, and
values where a set of values is listed: a reader leaves out what it does not know.

## How a hole stands

A hole is a CVE. It has a state in each binary of a process, in the process and on the host; what stands for several is
the worst of them.

| state | closed now | what it says |
|---|---|---|
"""
_STATES = {
    HoleState.OPEN: "the old code runs, and a restart does not change that",
    HoleState.FIXED_ON_DISK: "the old code runs; the file on disk is a build without a patch, so a restart closes it",
    HoleState.UNKNOWN: "a patch says so and nothing proves it, or something could not be looked at",
    HoleState.MITIGATED: "open or unknown, and an administrator has declared that it cannot be used on this host",
    HoleState.LOST_AT_NEXT_START: "a patch is in force and proved; the file on disk is not fixed",
    HoleState.FIXED_IN_MEMORY: "a patch is in force and proved; the file on disk is another build, or is not known",
}


def page() -> str:
    """The text."""
    rows = [f"| {s.value} | {'yes' if s.is_closed else 'no'} | {_STATES[s]} |" for s in HoleState]
    return _HEAD + "\n".join([*rows, "", *_reasons(), "", *_types(), *_foot(), ""])


def _foot() -> list[str]:
    return [
        (
            "This page is written by `python -m suture.report.page`, the schema by `suture schema`; a test compares "
            "both with the code."
        )
    ]


def _reasons() -> Iterator[str]:
    yield "## Reasons"
    yield ""
    yield (
        "A reason is an identifier, a sentence for people (`text`) and what to do (`remedy`). The identifier stays "
        "when the sentence is"
    )
    yield "written anew. Its first word tells the kind:"
    yield ""
    yield "| first word | what it says |"
    yield "|---|---|"
    yield from (f"| `{kind}` | {text} |" for kind, text in KINDS.items())
    yield ""
    yield "| reason | what it says |"
    yield "|---|---|"
    yield from (f"| `{reason}` | {text} |" for reason, text in MEANING.items())


def _types() -> Iterator[str]:
    defs: dict[str, Any] = schema()["$defs"]
    kinds = {d.__name__: d.kind for d in DOCUMENTS}
    yield "## Documents"
    yield ""
    yield 'Each has in front: `format`, `kind`, and `tool` (`{"name": "suture", "version": ...}`).'
    yield ""
    for cls in DOCUMENTS:
        yield from _type(cls, f'`"kind": "{kinds[cls.__name__]}"`', defs)
    yield "## What they are made of"
    yield ""
    for cls in described():
        if cls not in DOCUMENTS and cls.__name__ != "Reason":
            yield from _type(cls, f"`{cls.__name__}`", defs)


def _type(cls: type[Any], title: str, defs: dict[str, Any]) -> Iterator[str]:
    yield f"### {title}"
    yield ""
    yield defs[cls.__name__]["description"]
    yield ""
    if issubclass(cls, Enum):
        yield "One of: " + ", ".join(f"`{m.value}`" for m in cls) + "."
        yield ""
        return
    yield "| field | type |"
    yield "|---|---|"
    properties = defs[cls.__name__]["properties"]
    yield from (f"| `{f.name}` | {_of(properties[f.name])} |" for f in dataclasses.fields(cls))
    yield ""


def _of(row: dict[str, Any]) -> str:
    """A field's type in words."""
    if "$ref" in row:
        name = row["$ref"].rpartition("/")[2]
        return f"`{name}`"
    if "anyOf" in row:
        return f"{_of(row['anyOf'][0])} or null"
    if row.get("type") == "array":
        return f"list of {_of(row['items'])}"
    if row.get("type") == "object":
        return f"object, its values {_of(row['additionalProperties'])}"
    return str(row.get("type", "any"))


if __name__ == "__main__":
    print(page(), end="")
