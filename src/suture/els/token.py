"""Code as tokens, so that blanks, line ends and comments don't tell two texts apart.

The lexical grammar is that of C and C++ (C17 6.4), close enough for scripting languages with the same strings: what no
rule knows is a token of one character.
"""

from __future__ import annotations

import re
from functools import lru_cache

_TOKEN = re.compile(
    r"/\*.*?\*/|//[^\n]*|"
    r'"(?:\\.|[^"\\\n])*"|'
    r"'(?:\\.|[^'\\\n])*'|"
    r"\w+|\s+|.",
    re.DOTALL,
)
_NAME = re.compile(r"[A-Za-z_]\w*\Z")


@lru_cache(maxsize=64)
def tokens(text: str) -> tuple[str, ...]:
    """All tokens; joined they are the text again."""
    return tuple(_TOKEN.findall(text))


def code(text: str) -> tuple[str, ...]:
    """The tokens that are code: no blanks, no comments."""
    return tuple(t for t in tokens(text) if not t.isspace() and not t.startswith(("/*", "//")))


def bare(text: str) -> str:
    """The text without comments; its lines stay where they are."""
    return "".join("\n" * t.count("\n") if t.startswith(("/*", "//")) else t for t in tokens(text))


def names(text: str) -> frozenset[str]:
    """Identifiers and keywords of the code."""
    return frozenset(t for t in code(text) if _NAME.match(t))
