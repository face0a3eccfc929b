"""What was tried before. A mutant that was killed stays killed while the function is the same; a survivor is tried
again when its tests have changed."""

from __future__ import annotations

import ast
import hashlib
import json
from functools import lru_cache
from pathlib import Path
from typing import NewType

from suture import number
from tests.mutation.mutant import Mutant

_NUMBERS = {name for name, kind in vars(number).items() if isinstance(kind, NewType)}


class Memory:
    """Outcomes in a folder, one file for each module. `anew`: what is there already counts for nothing."""

    def __init__(self, folder: Path, anew: bool) -> None:
        self._folder, self._anew = folder, anew
        self._rows: dict[str, dict[str, str]] = {}

    def is_killed(self, module: str, source: str, tests: str, mutant: Mutant) -> bool | None:
        """None when it is to be tried."""
        known = self._of(module).get(_name(source, mutant))
        if known is None or known == "killed":
            return None if known is None else True
        return False if known == _digest(tests) else None

    def was_tried(self, module: str, source: str, mutant: Mutant) -> bool:
        """Perhaps against earlier tests."""
        return _name(source, mutant) in self._of(module)

    def note(self, module: str, source: str, tests: str, mutant: Mutant, killed: bool) -> None:
        rows = self._of(module)
        rows[_name(source, mutant)] = "killed" if killed else _digest(tests)
        self._folder.mkdir(parents=True, exist_ok=True)
        (self._folder / f"{module}.json").write_text(json.dumps(rows, indent=0, sort_keys=True))

    def _of(self, module: str) -> dict[str, str]:
        if module not in self._rows:
            file = self._folder / f"{module}.json"
            self._rows[module] = json.loads(file.read_text()) if file.exists() and not self._anew else {}
        return self._rows[module]


@lru_cache(maxsize=4096)
def _name(source: str, mutant: Mutant) -> str:
    """The changed function, before and after: other functions of the module, comments and line breaks make no
    difference."""
    for before, after in zip(_parts(source), _parts(mutant.code(source)), strict=True):
        if before != after:
            return f"{_digest(before)} {_digest(after)}"
    return f"{_digest(source)} {mutant.operator} {mutant.occurrence}"


@lru_cache(maxsize=8)
def _parts(source: str) -> list[str]:
    """The functions of a module and whatever else stands in it, as text that tells no comment, docstring, line break or
    type."""
    tree = _Untyped().visit(ast.parse(source))
    for node in ast.walk(tree):
        if isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant) and isinstance(node.value.value, str):
            node.value.value = ""
    found = []
    for node in tree.body:
        if isinstance(node, ast.ClassDef):
            body, node.body = node.body, []
            found += [ast.dump(node), *(f"{node.name} {ast.dump(n)}" for n in body)]
        else:
            found.append(ast.dump(node))
    return found


class _Untyped(ast.NodeTransformer):
    """Leaves out what only a type checker reads: annotations, and calls that give a number its type."""

    def visit_Call(self, node: ast.Call) -> ast.AST:
        self.generic_visit(node)
        is_type = isinstance(node.func, ast.Name) and node.func.id in _NUMBERS and len(node.args) == 1
        return node.args[0] if is_type else node

    def visit_arg(self, node: ast.arg) -> ast.AST:
        node.annotation = None
        return node

    def visit_FunctionDef(self, node: ast.FunctionDef) -> ast.AST:
        self.generic_visit(node)
        node.returns = None
        return node

    def visit_AnnAssign(self, node: ast.AnnAssign) -> ast.AST:
        self.generic_visit(node)
        node.annotation = ast.Constant("")
        return node


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()[:16]
