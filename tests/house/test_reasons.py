"""Whatever keeps a host from doing what it was asked to has an identifier of its own, which reports carry."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

from suture.report.reason import Reason
from tests.house.parsed import nodes

SOURCE = Path(__file__).resolve().parents[2] / "src" / "suture"
ROOMS = ("process", "kernel", "patch")

# Classes that name the identifier themselves, at the latest as a default.
NAMED_BY_CLASS = {"NoProcess", "AlreadyTraced", "BadPatch", "NotLoaded", "PlaceTaken"}


def error_classes() -> set[str]:
    """Names of all classes that derive from SutureError, wherever they are."""
    bases: dict[str, set[str]] = {}
    for path in SOURCE.rglob("*.py"):
        for node in nodes(path):
            if isinstance(node, ast.ClassDef):
                bases.setdefault(node.name, set()).update(b.id for b in node.bases if isinstance(b, ast.Name))
    found = {"SutureError"}
    while more := {name for name, of in bases.items() if of & found} - found:
        found |= more
    return found


def without_identifier() -> list[str]:
    errors = error_classes() - NAMED_BY_CLASS
    return [
        f"{path.relative_to(SOURCE)}:{node.lineno} {node.func.id}"
        for room in ROOMS
        for path in sorted((SOURCE / room).rglob("*.py"))
        for node in nodes(path)
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id in errors
        if not any(k.arg == "reason" for k in node.keywords)
    ]


def test_every_error_of_a_host_names_its_identifier() -> None:
    assert without_identifier() == []


@pytest.mark.parametrize("reason", [r for r in Reason if "." in r], ids=str)
def test_every_identifier_is_given_by_somebody(reason: Reason) -> None:
    users = [p for p in SOURCE.rglob("*.py") if p.name != "reason.py" and f"Reason.{reason.name}" in p.read_text()]
    assert users
