"""Counters woven into C: gcc takes each form, no line moves, and what the program computes stays what it was."""

from __future__ import annotations

import subprocess
from pathlib import Path

from suture.tripwire.site import Form, Site, SiteKind, TextSpan, weave

PROGRAM = b"""\
#include <stdio.h>
static long counts[4];
static int deep(int a) { if (a > 1) return __LINE__; else if (a) { return 1; } return 0; }
static int both(int a, int b) { return a && b < 9; }
static int either(int a, int b) { return a || b > 9; }
static const char *value(int a) { return a ? "yes" : "no"; }
int main(void)
{
    for (int a = 0; a < 3; a++)
        printf("%d %d %d %s\\n", deep(a), both(a, a + 7), either(a, 10), value(a));
    printf("%ld %ld %ld %ld\\n", counts[0], counts[1], counts[2], counts[3]);
}
"""


def span(text: bytes, form: Form) -> Site:
    start = PROGRAM.index(text)
    return Site(1, "f", "c", SiteKind.EXIT, form, TextSpan(start, start + len(text)))


def test_each_form_counts_and_changes_no_result(tmp_path: Path) -> None:
    places = [
        span(b"return __LINE__;", Form.STATEMENT),
        span(b"b < 9", Form.WHEN_FALSE),
        span(b"b > 9", Form.WHEN_TRUE),
        span(b'"yes"', Form.VALUE),
    ]
    woven = weave(PROGRAM, [(one, f"counts[{n}]++;") for n, one in enumerate(places)])
    assert woven.count(b"\n") == PROGRAM.count(b"\n")
    outputs = []
    for name, text in (("plain", PROGRAM), ("woven", woven)):
        (tmp_path / f"{name}.c").write_bytes(text)
        subprocess.run(["gcc", "-Wall", "-Werror", "-o", tmp_path / name, tmp_path / f"{name}.c"], check=True)
        outputs.append(subprocess.run([tmp_path / name], capture_output=True, text=True, check=True).stdout.split("\n"))
    assert outputs[0][:3] == outputs[1][:3] == ["0 0 1 no", "1 1 1 yes", "3 0 1 yes"]
    assert outputs[1][3] == "1 1 1 2"


def test_of_two_at_one_place_the_wider_stands_outside() -> None:
    inner = Site(1, "f", "c", SiteKind.SKIP, Form.WHEN_TRUE, TextSpan(0, 1))
    outer = Site(1, "f", "c", SiteKind.SKIP, Form.WHEN_FALSE, TextSpan(0, 6))
    made = weave(b"a && b", [(outer, "x++;"), (inner, "y++;")])
    assert made == b"((((a) && __extension__ ({ y++; 1; })) && b) || __extension__ ({ x++; 0; }))"
