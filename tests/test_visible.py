"""Text from outside shows what it holds and commands nothing."""

from __future__ import annotations

import io
from typing import Any

import pytest

from suture.visible import Visible, beneath, visible


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("nginx: worker", "nginx: worker"),
        ("a\x1b[2Jb", "a\\x1b[2Jb"),
        ("two\nlines\r", "two\\nlines\\r"),
        ("to the \u202eleft", "to the \\u202eleft"),
        ("no\u200bwidth", "no\\u200bwidth"),
        ("half \udcff byte", "half \\udcff byte"),
        ("Grüße \N{SNOWMAN}", "Grüße \N{SNOWMAN}"),
    ],
)
def test_what_is_no_plain_text_is_written_as_an_escape(text: str, shown: str) -> None:
    assert visible(text) == shown and visible(text).isprintable()


def test_what_is_longer_than_any_honest_text_is_cut_and_says_so() -> None:
    assert visible("x" * 10, 10) == "x" * 10
    assert visible("x" * 11, 10) == "x" * 10 + " ... (1 more characters)"
    assert len(visible("\0" * 1000, 10)) < 80


def test_a_line_ends_where_print_ends_it_and_nowhere_else() -> None:
    raw = io.StringIO()
    stream = Visible(raw)
    print("one\ntwo", "\x07", file=stream)
    print(file=stream)
    assert raw.getvalue() == "one\\ntwo \\x07\n\n"


def test_what_the_terminal_cannot_show_is_escaped_rather_than_an_error() -> None:
    raw = io.TextIOWrapper(io.BytesIO(), encoding="ascii")
    print("Grüße", file=Visible(raw))
    raw.flush()
    assert raw.buffer.getvalue() == b"Gr\\xfc\\xdfe\n"


def test_text_of_our_own_goes_to_the_stream_beneath() -> None:
    raw = io.StringIO()
    shown: Any = Visible(raw)
    assert beneath(shown) is raw and beneath(raw) is raw
    assert shown.isatty() is False
