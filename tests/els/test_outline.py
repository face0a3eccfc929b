"""A file taken apart at its functions."""

from __future__ import annotations

from suture.els.outline import changed, sections

TEXT = """\
#include <a.h>
static int one(int n)
{
    return n;
}

/* between */
int v;
#ifdef X
void two(void) { one(1); }
#else
void two(void) { one(2); }
#endif
"""


def test_the_sections_are_the_text_and_functions_have_their_names() -> None:
    found = sections("a.c", TEXT)
    assert "".join(s.text for s in found) == TEXT
    assert [s.key for s in found if s.is_function] == ["one", "two", "two 2"]
    assert [s.key for s in found if not s.is_function] == [" ", " one", " two", " two 2"]


def test_a_file_of_another_language_is_one_section() -> None:
    assert [s.key for s in sections("a.py", "def f(): pass\n")] == [" "]


def test_only_sections_whose_code_differs_are_changed() -> None:
    assert changed("a.c", TEXT, TEXT.replace("one(2)", "one(3)").replace("/* between */", "")) == ("two 2",)
    assert changed("a.c", TEXT, TEXT + "int three(void) { return 3; }\n") == ("three",)


def test_a_function_of_a_class_has_its_qualified_name() -> None:
    text = "namespace n {\nclass A {\n  int one() { return 1; }\n};\nint A::two() { return 2; }\n}\n"
    found = sections("a.cc", text)
    assert [(s.key, s.name) for s in found if s.is_function] == [("one", "n::A::one"), ("A::two", "n::A::two")]
    assert [s.name for s in sections("a.c", TEXT) if s.is_function] == ["one", "two", "two"]
