"""One name for one thing: no two classes of the product are called the same."""

from __future__ import annotations

import ast
from collections import defaultdict
from collections.abc import Iterable, Mapping
from pathlib import Path

from tests.house.parsed import nodes

SOURCE = Path(__file__).resolve().parents[2] / "src" / "suture"


def places(sources: Mapping[str, Iterable[ast.AST]]) -> dict[str, list[str]]:
    """Where each class name is defined, by the nodes of each file."""
    found: dict[str, list[str]] = defaultdict(list)
    for file, all_of_it in sources.items():
        for node in all_of_it:
            if isinstance(node, ast.ClassDef):
                found[node.name].append(f"{file}:{node.lineno}")
    return found


def test_no_class_name_stands_for_two_things() -> None:
    sources = {str(path.relative_to(SOURCE)): nodes(path) for path in sorted(SOURCE.rglob("*.py"))}
    twice = {name: where for name, where in places(sources).items() if len(where) > 1}
    assert twice == {}, "give one of them a name that says what it is"


def test_a_second_class_of_a_name_is_found_wherever_it_stands() -> None:
    found = places(
        {
            name: ast.walk(ast.parse(text))
            for name, text in (("a.py", "class A:\n class B: pass\n"), ("b.py", "if 1:\n def f():\n  class B: pass\n"))
        }
    )
    assert found == {"A": ["a.py:1"], "B": ["a.py:2", "b.py:3"]}
