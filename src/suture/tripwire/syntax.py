"""C and C++ as syntax trees, by tree-sitter and its grammars: the only module that knows of them."""

from __future__ import annotations

import re
from collections.abc import Iterator
from functools import lru_cache
from pathlib import PurePosixPath

import tree_sitter
import tree_sitter_c
import tree_sitter_cpp

_C = frozenset({".c", ".h", ".i", ".inc"})
_CXX = frozenset({".cc", ".cpp", ".cxx", ".C", ".c++", ".hh", ".hpp", ".hxx", ".ipp", ".tcc", ".ii"})
Node = tree_sitter.Node


@lru_cache(maxsize=2)
def _parser(is_cxx: bool) -> tree_sitter.Parser:
    grammar = tree_sitter_cpp.language() if is_cxx else tree_sitter_c.language()
    return tree_sitter.Parser(tree_sitter.Language(grammar))


def is_source(path: str) -> bool:
    """Whether a file is C or C++ by its name."""
    return PurePosixPath(path).suffix in _C | _CXX


def parse(path: str, text: bytes, is_cxx: bool = False) -> Node:
    """The root of a file's tree; `is_cxx` decides for headers, whose names do not tell."""
    suffix = PurePosixPath(path).suffix
    return _parser(suffix in _CXX or (is_cxx and suffix in {".h", ".inc"})).parse(text).root_node


def plain(node: Node | None) -> str:
    """The text of a node in one line, comments left out."""
    if node is None or node.text is None:
        return ""
    text = node.text.decode(errors="replace")
    text = re.sub(r"/\*.*?\*/", " ", text, flags=re.S)
    return " ".join(re.sub(r"//[^\n]*", " ", text).split())


def key(node: Node | None) -> str:
    """What is the same for the same code, however it is laid out: its tokens, comments left out."""
    if node is None:
        return ""
    tokens = (n for n in walk(node) if not n.child_count and n.type not in ("comment", "\n", "\\"))
    return " ".join((t.text or b"").decode(errors="replace") for t in tokens)


def lines(node: Node) -> range:
    """The lines of a node, counted from 1."""
    return range(node.start_point[0] + 1, node.end_point[0] + 2)


def walk(node: Node) -> Iterator[Node]:
    """A node and all below it, in the order of the text."""
    todo = [node]
    while todo:
        one = todo.pop()
        yield one
        todo += reversed(one.children)


def above(node: Node) -> Iterator[Node]:
    """What a node is in, from the innermost out."""
    one = node.parent
    while one is not None:
        yield one
        one = one.parent


def bare(node: Node | None) -> Node | None:
    """An expression without the parentheses around it; None for a condition that declares something (C++)."""
    while node is not None and node.type in ("parenthesized_expression", "condition_clause"):
        if node.child_by_field_name("initializer") is not None:
            return None
        inner = [c for c in node.named_children if c.type != "comment"]
        node = inner[0] if len(inner) == 1 else None
    return None if node is not None and node.type == "declaration" else node


def operands(node: Node, operator: str) -> list[Node]:
    """What a chain of && or || joins; the node itself where it is no such chain."""
    if node.type == "binary_expression" and plain(node.child_by_field_name("operator")) == operator:
        sides = (node.child_by_field_name("left"), node.child_by_field_name("right"))
        return [x for side in sides if side is not None for x in operands(side, operator)]
    inner = bare(node)
    if inner is not None and inner is not node and inner.type == "binary_expression":
        return operands(inner, operator) if plain(inner.child_by_field_name("operator")) == operator else [node]
    return [node]


def function(node: Node) -> str:
    """The name of the function that a node is in, "" for none."""
    return next((name for one in above(node) if (name := defined(one))), "")


def defined(node: Node) -> str:
    """The name of the function that a node defines; "" for another node, and for one whose name is not to be read."""
    if node.type != "function_definition":
        return ""
    declarator = node.child_by_field_name("declarator")
    while declarator is not None and (inner := declarator.child_by_field_name("declarator")) is not None:
        declarator = inner
    return plain(declarator).partition("(")[0].strip()


def is_constant_evaluated(node: Node) -> bool:
    """Whether it is in a constexpr function of C++, where the compiler takes no assembly."""
    body = next((x for x in above(node) if x.type == "function_definition"), None)
    head = "" if body is None else plain(body).partition("{")[0]
    return re.search(r"\b(constexpr|consteval)\b", head) is not None
