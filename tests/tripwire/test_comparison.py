"""Tests of old against new values, woven into C: they count where both differ, change nothing, and are refused where a
macro makes more of them."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from suture.tripwire import syntax
from suture.tripwire.comparison import NOWHERE, Comparison, of_assignment, of_pointer, of_values, why_unsafe
from suture.tripwire.syntax import Node


def expression(text: str) -> Node:
    root = syntax.parse("a.c", f"void f(void) {{ {text}; }}".encode())
    return next(n for n in syntax.walk(root) if n.type == "expression_statement").named_children[0]


def values(old: str, new: str) -> Comparison:
    found = of_values(expression(old), expression(new))
    assert found is not None
    return found


def preprocessed(tmp_path: Path, head: str, test: Comparison) -> bytes:
    source = tmp_path / "a.c"
    source.write_text(f"{head}\nint f(struct s *p, struct s *q, int a) {{ return {test.test(3, False)}; }}\n")
    return subprocess.run(["gcc", "-E", "-P", source], check=True, capture_output=True).stdout


@pytest.mark.parametrize("flags", ["-O0", "-O2"])
def test_a_value_counts_where_it_is_another_and_is_not_used_to_learn_of_the_new_one(tmp_path: Path, flags: str) -> None:
    """Of `a + 1 > a` alone gcc concludes that a is no INT_MAX, and leaves the check of that out."""
    test = values("a + 1 > a", "a < 2147483647")
    (tmp_path / "a.c").write_text(
        "#include <stdio.h>\n#include <stdlib.h>\nstatic int counted;\n"
        "__attribute__((noipa)) int f(int a)\n{\n"
        f"    int ok = (__extension__ ({{ if ({test.test(0, False)}) counted++; (void)0; }}), (a < 2147483647));\n"
        "    return ok;\n}\n"
        "__attribute__((noipa)) int g(int *n, int v)\n{\n"
        f"    if ({values('*n & 15', '*n & 7').test(1, False)}) counted++;\n    *n = v;\n    return *n;\n}}\n"
        'int main(void)\n{\n    int n = 9;\n    printf("%d %d ", f(2147483647), f(5));\n'
        '    printf("%d", g(&n, 3));\n    printf(" %d", g(&n, 4));\n    printf(" %d\\n", counted);\n}\n'
    )
    subprocess.run(["gcc", flags, "-Wall", "-Werror", "-o", tmp_path / "a", tmp_path / "a.c"], check=True)
    said = subprocess.run([tmp_path / "a"], capture_output=True, text=True, check=True).stdout.split()
    assert said[:4] == ["0", "1", "3", "4"] and int(said[4]) >= 1


@pytest.mark.parametrize(
    ("old", "new"),
    [("a++", "a"), ("f(a)", "a"), ("a = 1", "a"), ("a", "g(a)"), ('"x"', "a")],
)
def test_what_changes_something_is_not_computed_twice(old: str, new: str) -> None:
    assert of_values(expression(old), expression(new)) is None


@pytest.mark.parametrize(
    ("head", "test", "reason"),
    [
        ("struct s { int n; };", values("p->n", "p->n & 7"), ""),
        ("struct s { int n; };", values("SIZE (a)", "a"), "its test would call SIZE"),
        ("struct s { int n; };\n#define SIZE(x) ((x) * 2)", values("SIZE (a)", "a"), ""),
        ("struct s { int n; };\n#define SIZE(x) ((x)++)", values("SIZE (a)", "a"), "its test would change something"),
        (
            "struct s { int n; };\n#define AT q->n",
            values("AT", "a"),
            "its test would read memory that the new code may not",
        ),
        ("struct s { int n; };", values("q->n", "p->n"), "its test would read memory that the new code may not"),
        (
            "struct s { int n; };",
            values("p->n", "a && p->n"),
            "its test would read memory that the new code may not",
        ),
        ("#define ROUND(x) ((x) & -(__typeof__ (x)) (8))", values("a", "ROUND (a)"), ""),
    ],
)
def test_a_test_is_judged_by_what_macros_make_of_it(tmp_path: Path, head: str, test: Comparison, reason: str) -> None:
    assert why_unsafe(preprocessed(tmp_path, head, test), 3, False) == reason
    assert why_unsafe(b"int f(void);", 3, False) == NOWHERE


def test_assignments_and_pointers_are_compared_with_what_is_there(tmp_path: Path) -> None:
    for test in (of_assignment(expression("p->n"), expression("7")), of_pointer(expression("p->n"))):
        assert test is not None
        assert why_unsafe(preprocessed(tmp_path, "struct s { int n; };", test), 3, False) == ""
