"""Sources as syntax trees, each parsed once."""

from __future__ import annotations

import ast
from functools import cache
from pathlib import Path


@cache
def nodes(path: Path) -> tuple[ast.AST, ...]:
    """All of a file's, in the order of `ast.walk`."""
    return tuple(ast.walk(ast.parse(path.read_text())))
