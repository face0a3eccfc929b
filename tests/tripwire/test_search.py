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
        ("if (a > 9)\nreturn -1;", "if (b)\ng();\nif (a > 9)\nreturn -1;", (SiteKind.CASE, Form.STATEMENT, "b")),
        ("switch (a) {\ncase 1: g();\n}", "switch (a) {\ncase 1: g();\nbreak;\ndefault: h();\nbreak;\n}",
         (SiteKind.CASE, Form.STATEMENT, "default")),
        ("a = b + 1;", "a = b + 8;", (SiteKind.VALUE, Form.STATEMENT, "(b + 8) != (b + 1)")),
        ("return a;", "g();\nreturn b;", (SiteKind.VALUE, Form.VALUE, "b != a")),
        ("int n = a;", "int n = a & 7;", (SiteKind.VALUE, Form.VALUE, "(a & 7) != a")),
        ("return a && g(b, 1);", "return a && g(b, a & 7);",
         (SiteKind.OPERAND, Form.WHEN_FALSE, "not (g(b, a & 7))")),
        ("f(a);", "f(a & 7);", (SiteKind.VALUE, Form.VALUE, "(a & 7) != a")),
        ("if (a) {\ng();\n}", "if (a) {\np->n = 0;\ng();\n}", (SiteKind.VALUE, Form.STATEMENT, "p->n != 0")),
        ("g();", "if (p)\np->n = 2;\ng();", (SiteKind.VALUE, Form.STATEMENT, "p->n != 2")),
        ("p->n = 0;\ng();", "a = p->n;\ng();", (SiteKind.VALUE, Form.STATEMENT, "p->n != 0")),
        ("if (a) {\ng();\n}", "if (a) {\nfree(p);\ng();\n}", (SiteKind.RELEASE, Form.STATEMENT, "a: free(p)")),
        ("if (a)\nERR1(b, 2);", "if (a)\nERR2(b, 2);", (SiteKind.OTHER, Form.STATEMENT, "a: ERR2 for ERR1")),
        ("if (a && f(b))\nc = 1;", "if (a && (d || f(b)))\nc = 1;", (SiteKind.OTHER, Form.WHEN_TRUE, "d")),
        ("if (a) free_set(p);\nout:\nfree_set(p);",
         "if (a) {\nfree_set(p);\np = 0;\n}\nout:\nif (p != 0)\nfree_set(p);",
         (SiteKind.SKIP, Form.WHEN_FALSE, "not (p != 0)")),
    ],
)  # fmt: skip
def test_what_a_fix_rejects_is_a_site(old: str, new: str, expected: tuple[SiteKind, Form, str]) -> None:
    assert of_body(old, new) == [expected]


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("if (a>b)\nreturn -1;", "if( a > b )\n  return -1;"),
        ("a = b+1;", "a = b + 1;"),
        ("a = f(b);", "a = f(b) + 1;"),
        ("a = b ? 1 : 2;", "a = c++;"),
        ("while (a) {\ng();\n}", "while (a) {\nfree(p);\ng();\n}"),
        ("f(a);", "f(7);"),
        ("put_error(a);", "put_error(b);"),
        ("void *p = malloc(a);", "void *p = malloc(a);\np->n = 0;"),
        ("if (a > 9) return -1;", "if (a > 9)\n    return -1;"),
        ("if (a > 9)\nreturn -1;\ng();", "g();\nif (a > 9)\nreturn -1;"),
        ("g_free(a);", "if (a) {\n g_free(a);\n}"),
        ("if (a)\nreturn 1;", "if (a && b)\nreturn 1;"),
    ],
)
def test_what_only_moved_or_rejects_less_is_none(old: str, new: str) -> None:
    assert of_body(old, new) == []


def test_a_place_without_a_counter_is_told_with_the_reason() -> None:
    found, passed = sites("int f(int a)\n{\nreturn a;\n}\n", "int f(int a)\n{\na = MIN(a, 9);\nreturn a;\n}\n")
    assert found == []
    assert [(p.line, p.reason) for p in passed] == [(3, "the limit is inside MIN")]


def test_a_macro_is_read_as_a_function() -> None:
    """Its comments and continued lines included; the place is that in the file."""
    old = "int x;\n#define C(x) \\\n  { g(x); /* go */ \\\n    h(x); }\n"
    new = "int x;\n#define C(x) \\\n  { g(x); /* go */ \\\n    if (x > 9) \\\n      return 1; \\\n    h(x); }\n"
    found, passed = sites(old, new)
    assert passed == []
    assert [(s.line, s.function, s.condition, s.kind) for s in found] == [(4, "C", "x > 9", SiteKind.EXIT)]
    (one,) = found
    assert new[one.span.start : one.span.end] == "return 1;"


def test_what_one_fix_adds_and_another_takes_away_is_no_old_code_lost() -> None:
    old = b"int f(int a)\n{\n  expand(a);\n}\n"
    new = b"int f(int a)\n{\n  r = add(a);\n  if (r < 0) {\n    note(r);\n  } else {\n    expand(a, 2);\n  }\n}\n"
    own = {n: new.decode().split("\n")[n - 1] for n in range(3, 9)}
    found, _ = search("a.c", old, new, {3: "  expand(a);"}, own, False, {7})
    assert [(s.kind, s.condition) for s in found] == [(SiteKind.SKIP, "r < 0")]


def test_cxx_has_exceptions_and_conditions_that_declare() -> None:
    old = "struct A { int f(int a) {\nreturn a;\n} };\n"
    new = (
        "struct A { int f(int a) {\nif (a > 9)\nthrow 1;\nif (int b = g(a))\nreturn b;\nreturn a;\n} };\n"
        "constexpr int h(int a) {\nif (a)\nreturn 1;\nreturn 2;\n}\n"
    )
    found, passed = sites(old, new, "a.cc")
    assert [(s.line, s.function, s.condition) for s in found] == [(2, "f", "a > 9"), (4, "f", "(int b = g(a))")]
    assert [p.reason for p in passed] == ["it may be evaluated by the compiler (constexpr)"]


RENAMED = """    struct entry *it = 0;
    if (p->depth > 9)
        return -1;
    it = p;
    while (it) {
        if (it->type == 1) {
            if (it->p == 0)
                fetch(it);
            if (it->p != 0) {
                if (resolve(it->p)) {
                    p->depth--;
                    return 1;
                }
            }
        }
        it = it->next;
    }
    p->depth--;"""
PLAIN = """    while (p) {
        if (p->type == 1) {
            if (p->p == 0)
                fetch(p);
            if (p->p != 0) {
                if (resolve(p->p))
                    return 1;
            }
        }
        p = p->next;
    }"""


def test_what_only_has_another_name_is_not_new() -> None:
    assert of_body(PLAIN, RENAMED) == [(SiteKind.EXIT, Form.STATEMENT, "p->depth > 9")]


def test_a_variable_with_a_value_of_its_own_is_no_other_name() -> None:
    found = of_body(PLAIN, RENAMED.replace("it = p;", "it = first(p);"))
    assert len(found) > 1 and (SiteKind.EXIT, Form.STATEMENT, "p->depth > 9") in found
