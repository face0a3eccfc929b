"""A place in the fixed source where something is rejected, and how a counter is put there."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from enum import Enum

from suture.tripwire.comparison import Comparison


class SiteKind(Enum):
    """How what is rejected leaves."""

    EXIT = "exit"  # return, goto, break, continue, throw
    ERROR = "error"  # an error is noted, by a variable or a call
    CLAMP = "clamp"  # a value is brought back into its limits
    SKIP = "skip"  # what a condition guards is not done
    OPERAND = "operand"  # a new part of a condition decides it
    # nothing is rejected, but the old code would have done something else
    VALUE = "value"  # it had another value
    RELEASE = "release"  # it kept what is freed
    CASE = "case"  # it did not tell this case apart
    OTHER = "other"  # it called something else, or did not accept this

    @property
    def rejects(self) -> bool:
        return self not in (SiteKind.VALUE, SiteKind.RELEASE, SiteKind.CASE, SiteKind.OTHER)


class Form(Enum):
    """Where the counter stands: before a statement, or as a part of an expression that is reached when what precedes it
    is false, true, or in any case."""

    STATEMENT = "statement"
    WHEN_FALSE = "when false"
    WHEN_TRUE = "when true"
    VALUE = "value"


@dataclass(frozen=True)
class TextSpan:
    """Bytes [start, end) of a file."""

    start: int
    end: int


@dataclass(frozen=True)
class Site:
    """`line` and `condition` (in one line) tell a person what was rejected; `span` is what the counter is put around.
    With a `test` it counts only where that is true."""

    line: int
    function: str
    condition: str
    kind: SiteKind
    form: Form
    span: TextSpan
    test: Comparison | None = None


@dataclass(frozen=True)
class Passed:
    """A line that rejects something, or may, and that gets no counter, and why."""

    line: int
    function: str
    condition: str
    reason: str


def weave(text: bytes, sites: Sequence[tuple[Site, str]]) -> bytes:
    """The text with a statement (C, ending in a semicolon) for each site. No line becomes another: nothing that is put
    in has a line end."""
    cuts: list[tuple[int, int, int, str]] = []
    for site, count in sites:
        before, after = _around(site.form, count)
        size = site.span.end - site.span.start
        # at one place what ends goes before what begins; the wider one stands outside
        cuts += [(site.span.start, 1, -size, before), (site.span.end, 0, size, after)]
    made, at = bytearray(), 0
    for place, _, _, piece in sorted(cuts):
        made += text[at:place] + piece.encode()
        at = place
    return bytes(made + text[at:])


def _around(form: Form, count: str) -> tuple[str, str]:
    if form is Form.STATEMENT:
        return f"{{ {count} ", " }"
    if form is Form.WHEN_FALSE:
        return "((", f") || __extension__ ({{ {count} 0; }}))"
    if form is Form.WHEN_TRUE:
        return "((", f") && __extension__ ({{ {count} 1; }}))"
    return f"(__extension__ ({{ {count} (void)0; }}), (", "))"
