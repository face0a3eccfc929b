"""Code as tokens."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from suture.els.token import bare, code, names, tokens


@given(st.text(alphabet="ab1 \n\t\"'\\/*;({", max_size=60))
def test_all_tokens_together_are_the_text(text: str) -> None:
    assert "".join(tokens(text)) == text


def test_blanks_and_comments_tell_no_two_texts_apart_and_strings_do() -> None:
    assert code("f( x ); // why\n") == code("f(x);/* else */")
    assert code('f("a b");') != code('f("ab");')
    assert code('f("/* no comment */");')[2] == '"/* no comment */"'


def test_lines_keep_their_numbers_without_comments() -> None:
    assert bare("a; /* one\ntwo */ b;\n// c\nd;") == "a; \n b;\n\nd;"


def test_names_are_identifiers_alone() -> None:
    assert names('if (a1 == 0x10) f("text"); /* word */') == {"if", "a1", "f"}
