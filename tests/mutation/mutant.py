"""Mutants of a module: copies of its source, each with one operator, number or condition changed, by cosmic-ray.

Left out is what cannot behave differently: annotations, which are never evaluated, the arguments of a dataclass's
decorator, which mypy checks, and comparison by value in place of by identity, which is used for enums, types and None.
"""

from __future__ import annotations

import ast
import hashlib
from collections.abc import Iterator
from dataclasses import dataclass

from cosmic_ray.ast import ast_nodes, get_ast
from cosmic_ray.mutating import mutate_code
from cosmic_ray.operators.provider import OperatorProvider

_NEED_ARGUMENTS = {"VariableReplacer", "VariableInserter"}
Position = tuple[int, int]


@dataclass(frozen=True)
class Mutant:
    """`operator` applied for the nth time (`occurrence`) at `place` (line from 1, column from 0) of a module."""

    operator: str
    occurrence: int
    place: Position

    def code(self, source: str) -> str:
        changed: str | None = mutate_code(source, OperatorProvider()[self.operator](), self.occurrence)
        assert changed is not None
        return changed

    def is_code(self, source: str) -> bool:
        """Whether Python takes it: `a & not b` is none."""
        if "Not" not in self.operator:
            return True
        try:
            ast.parse(self.code(source))
        except SyntaxError:
            return False
        return True

    def lines(self, source: str) -> tuple[str, str]:
        """The changed line, before and after."""
        after, before = self.code(source).splitlines(), source.splitlines()
        at = next(i for i, (a, b) in enumerate(zip(before, [*after, ""], strict=False)) if a.strip() != b.strip())
        if len(after) == len(before):
            return before[at].strip(), after[at].strip()
        gone = next(line.strip() for line in before[at:] if line.strip())
        return gone, f"({gone} is gone)"


def places(source: str, functions: frozenset[str] = frozenset()) -> dict[Position, list[Mutant]]:
    """All mutants of a source by the place that they change, inside `functions` (`Class.method`) if there are any."""
    found: dict[Position, list[Mutant]] = {}
    left_out = list(_left_out(ast.parse(source)))
    wanted = list(_spans(ast.parse(source), functions))
    counts: dict[str, int] = {}
    provider = OperatorProvider()
    operators = [(name, provider[name]()) for name in provider if not _is_left_out(name)]
    for node in ast_nodes(get_ast(source)):
        for name, operator in operators:
            for begin, _ in operator.mutation_positions(node):
                occurrence = counts.get(name, 0)
                counts[name] = occurrence + 1
                inside = any(start <= begin < end for start, end in wanted) or not functions
                if inside and not any(start <= begin < end for start, end in left_out):
                    found.setdefault(begin, []).append(Mutant(name, occurrence, begin))
    return found


def chosen(source: str, seed: int, most: int, functions: frozenset[str] = frozenset()) -> list[Mutant]:
    """One mutant at each place, at most `most` places (all for 0). The seed and the line alone choose, so that other
    lines may change."""
    rows = []
    for mutants in places(source, functions).values():
        line = source.splitlines()[mutants[0].place[0] - 1].strip()
        ranked = sorted(mutants, key=lambda m: _rank(seed, line, m.place[1], m.operator))
        rows.append((_rank(seed, line, ranked[0].place[1], ""), ranked))
    rows.sort(key=lambda row: (row[0], row[1][0].place))
    found = (next((m for m in ranked if m.is_code(source)), None) for _, ranked in rows[: most or None])
    return sorted((m for m in found if m is not None), key=lambda m: m.place)


def _is_left_out(operator: str) -> bool:
    """Comparing by identity in place of by value differs by chance of the interpreter alone; the other way round, for
    what is compared by identity here, not at all."""
    by_chance = operator.endswith(("_Is", "_IsNot")) and "_Is_" not in operator and "_IsNot_" not in operator
    return operator in _NEED_ARGUMENTS or by_chance or operator.endswith(("_Is_Eq", "_IsNot_NotEq"))


def _rank(seed: int, line: str, column: int, operator: str) -> str:
    return hashlib.sha256(f"{seed}:{line}:{column}:{operator}".encode()).hexdigest()


def _span(node: ast.expr | ast.stmt) -> tuple[Position, Position]:
    assert node.end_lineno is not None and node.end_col_offset is not None
    return (node.lineno, node.col_offset), (node.end_lineno, node.end_col_offset)


def _left_out(tree: ast.Module) -> Iterator[tuple[Position, Position]]:
    for node in ast.walk(tree):
        if isinstance(node, ast.AnnAssign | ast.arg) and node.annotation is not None:
            yield _span(node.annotation)
        elif isinstance(node, ast.FunctionDef) and node.returns is not None:
            yield _span(node.returns)
        elif isinstance(node, ast.ClassDef):
            yield from (_span(a.value) for d in node.decorator_list if isinstance(d, ast.Call) for a in d.keywords)


def _spans(tree: ast.Module, functions: frozenset[str]) -> Iterator[tuple[Position, Position]]:
    for node in tree.body:
        if isinstance(node, ast.FunctionDef | ast.ClassDef) and node.name in functions:
            yield _span(node)
        if isinstance(node, ast.ClassDef):
            for inner in node.body:
                if isinstance(inner, ast.FunctionDef) and f"{node.name}.{inner.name}" in functions:
                    yield _span(inner)
