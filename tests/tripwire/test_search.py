"""Sites of fixes in small pieces of C and C++: found where something new is rejected, and nowhere else."""

from __future__ import annotations

import difflib

import pytest

from suture.tripwire.search import search
from suture.tripwire.site import Form, Passed, Site, SiteKind


def sites(old: str, new: str, path: str = "a.c") -> tuple[list[Site], list[Passed]]:
    removed: dict[int, str] = {}
    added: dict[int, str] = {}
    before, after = old.splitlines(), new.splitlines()
    for tag, a, b, c, d in difflib.SequenceMatcher(None, before, after, autojunk=False).get_opcodes():
        if tag != "equal":
            removed |= {n + 1: before[n] for n in range(a, b)}
            added |= {n + 1: after[n] for n in range(c, d)}
    return search(path, old.encode(), new.encode(), removed, added, False)


def of_body(old: str, new: str) -> list[tuple[SiteKind, Form, str]]:
    found, _ = sites(f"int f(int a, int b)\n{{\n{old}\n}}\n", f"int f(int a, int b)\n{{\n{new}\n}}\n")
    return [(s.kind, s.form, s.condition) for s in found]


@pytest.mark.parametrize(
    ("old", "new", "expected"),
    [
        ("return a;", "if (a > 9)\nreturn -1;\nreturn a;", (SiteKind.EXIT, Form.STATEMENT, "a > 9")),
        ("return a;", "if (a > 9) {\ng();\ngoto out;\n}\nout: return a;", (SiteKind.EXIT, Form.STATEMENT, "a > 9")),
        ("return a;", "if (a > 9)\na = 9;\nreturn a;", (SiteKind.CLAMP, Form.STATEMENT, "a > 9")),
        ("return a;", "if (a > 9)\nerr = 1;\nreturn a;", (SiteKind.ERROR, Form.STATEMENT, "a > 9")),
        ("return a;", "if (a > 9)\nput_error(a);\nreturn a;", (SiteKind.ERROR, Form.STATEMENT, "a > 9")),
        ("if (a)\nreturn 1;", "if (a || b > 9)\nreturn 1;", (SiteKind.OPERAND, Form.WHEN_TRUE, "b > 9")),
        ("if (a && !b)\nreturn 1;", "if (a && (!b || b > 9))\nreturn 1;", (SiteKind.OPERAND, Form.WHEN_TRUE, "b > 9")),
        ("if (a)\ng(a);", "if (a && b < 9)\ng(a);", (SiteKind.SKIP, Form.WHEN_FALSE, "not (b < 9)")),
        ("g(a);", "if (b < 9)\ng(a);", (SiteKind.SKIP, Form.WHEN_FALSE, "not (b < 9)")),
        ("g(a);", "if (b < 9) {\n g(a);\n}", (SiteKind.SKIP, Form.WHEN_FALSE, "not (b < 9)")),
        ("g(a);", "if (b > 9) {\nh();\n} else {\n g(a, b);\n}", (SiteKind.SKIP, Form.STATEMENT, "b > 9")),
        ("while (a)\na--;", "while (a && b)\na--;", (SiteKind.SKIP, Form.WHEN_FALSE, "not (b)")),
        ("if (a)\ng();", "if (a) {\ng();\nreturn -1;\n}", (SiteKind.EXIT, Form.STATEMENT, "a")),
        ("if (a)\ng();", "if (a)\ng();\nelse\nreturn -1;", (SiteKind.EXIT, Form.STATEMENT, "not (a)")),
        ("return a;", "return a > 9 ? 9 : a;", (SiteKind.CLAMP, Form.VALUE, "a > 9")),
        ("a = b;", "a = b < 9 ? b : 9;", (SiteKind.CLAMP, Form.VALUE, "not (b < 9)")),
        ("return a == 1;", "return a == 1\n&& b;", (SiteKind.OPERAND, Form.WHEN_FALSE, "not (b)")),
        ("switch (a) {\ncase 1: g();\n}", "switch (a) {\ncase 2: return -1;\ncase 1: g();\n}",
         (SiteKind.EXIT, Form.STATEMENT, "case 2: return -1;")),
    ],
)  # fmt: skip
def test_what_a_fix_rejects_is_a_site(old: str, new: str, expected: tuple[SiteKind, Form, str]) -> None:
    assert of_body(old, new) == [expected]


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("if (a > 9)\nreturn -1;", "if (b)\ng();\nif (a > 9)\nreturn -1;"),
        ("if (a > 9) return -1;", "if (a > 9)\n    return -1;"),
        ("if (a > 9)\nreturn -1;\ng();", "g();\nif (a > 9)\nreturn -1;"),
        ("return a;", "g();\nreturn b;"),
        ("g_free(a);", "if (a) {\n g_free(a);\n}"),
        ("switch (a) {\ncase 1: g();\n}", "switch (a) {\ncase 2: h();\nbreak;\ncase 1: g();\n}"),
        ("if (a)\nreturn 1;", "if (a && b)\nreturn 1;"),
    ],
)
def test_what_only_moved_or_rejects_less_is_none(old: str, new: str) -> None:
    assert of_body(old, new) == []


def test_a_place_without_a_counter_is_told_with_the_reason() -> None:
    old = "#define C(x) g(x)\nint f(int a)\n{\nreturn a;\n}\n"
    new = "#define C(x) if (x) return 1; g(x)\nint f(int a)\n{\na = MIN(a, 9);\nreturn a;\n}\n"
    found, passed = sites(old, new)
    assert found == []
    assert [(p.line, p.reason) for p in passed] == [
        (1, "it is inside a macro's definition"),
        (4, "the limit is inside MIN"),
    ]


def test_cxx_has_exceptions_and_conditions_that_declare() -> None:
    old = "struct A { int f(int a) {\nreturn a;\n} };\n"
    new = (
        "struct A { int f(int a) {\nif (a > 9)\nthrow 1;\nif (int b = g(a))\nreturn b;\nreturn a;\n} };\n"
        "constexpr int h(int a) {\nif (a)\nreturn 1;\nreturn 2;\n}\n"
    )
    found, passed = sites(old, new, "a.cc")
    assert [(s.line, s.function, s.condition) for s in found] == [(2, "f", "a > 9"), (4, "f", "(int b = g(a))")]
    assert [p.reason for p in passed] == ["it may be evaluated by the compiler (constexpr)"]
