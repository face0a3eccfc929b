"""A fix carried to an older release, and what keeps it from being carried."""

from __future__ import annotations

from collections.abc import Mapping

from suture.els.backport import Backport, FileChange, Old, backport
from suture.els.token import names
from suture.report.els import CarriedBy, Objection

BASE = """\
#include "p.h"
static int size_of(const char *s)
{
    return parse_number(s, 0);
}

int read_one(const char *s, char *into)
{
    int n = size_of(s);

    copy_bytes(into, s, n);
    return n;
}

int read_two(const char *s, char *into)
{
    int n = size_of(s + 1);

    copy_two(into, s, n);
    return n;
}
"""
CHECK = "    if (n > LIMIT)\n        return -1;\n    copy_bytes(into, s, n);\n"
FIXED = BASE.replace("    copy_bytes(into, s, n);\n", CHECK)


def carry(base: str, fixed: str, ours: Mapping[str, str], path: str = "p.c", more: str = "LIMIT") -> Backport:
    known = {w for text in ours.values() for w in names(text)}
    old = Old(ours.get, lambda p: [x for x in ours if x.endswith(p.rpartition("/")[2])], lambda w: w & known)
    return backport([FileChange(path, base, fixed)], old, lambda w: w & names(base + more))


def old(text: str) -> dict[str, str]:
    return {"p.c": text, "p.h": "#define LIMIT 64\n"}


def test_a_fix_that_fits_is_carried_by_patch() -> None:
    ours = BASE.replace("size_of(s + 1)", "size_of(s)")
    found = carry(BASE, FIXED, old("/* older */\n" + ours))
    assert found.is_whole and [c.way for c in found.carried] == [CarriedBy.PATCH]
    assert found.carried[0].after == "/* older */\n" + ours.replace("    copy_bytes(into, s, n);\n", CHECK)


def test_a_renamed_variable_in_the_same_line_is_no_conflict() -> None:
    base, fixed = BASE, BASE.replace("    copy_bytes(into, s, n);", "    copy_bytes(into, s, clamp(n));")
    ours = BASE.replace("copy_bytes(into, s, n)", "copy_bytes(target, s, n)")
    found = carry(base, fixed, old(ours))
    assert found.is_whole and found.carried[0].way is CarriedBy.TOKENS
    assert "copy_bytes(target, s, clamp(n))" in (found.carried[0].after or "")


def test_a_file_that_lies_elsewhere_in_the_old_release_is_found() -> None:
    found = carry(BASE, FIXED, {"lib/p.c": BASE, "p.h": "#define LIMIT 64\n"}, "src/p.c")
    assert found.is_whole and found.carried[0].path == "lib/p.c"


def test_a_change_that_would_land_in_another_function_is_handed_over() -> None:
    ours = BASE.replace("read_one", "read_first")
    found = carry(BASE, FIXED, old(ours))
    assert not found.is_whole and Objection.ELSEWHERE in {f.kind for f in found.findings}


def test_code_that_the_fix_replaces_and_that_stands_elsewhere_too_is_handed_over() -> None:
    line = "    copy_bytes(into, s, n);\n"
    fixed = BASE.replace(line, "    copy_at_most(into, s, n, LIMIT);\n")
    found = carry(BASE, fixed, old(BASE.replace("    copy_two(into, s, n);\n", line)), more="LIMIT copy_at_most")
    assert Objection.REMAINS in {f.kind for f in found.findings}


def test_a_name_that_the_old_release_has_not_is_named() -> None:
    found = carry(BASE, FIXED, {"p.c": BASE})
    assert [(f.kind, f.about) for f in found.findings] == [(Objection.UNKNOWN, "LIMIT")]


def test_a_name_that_the_newer_file_had_before_and_the_old_release_has_not_is_named_too() -> None:
    other = "int other(int n)\n{\n    return n > LIMIT;\n}\n"
    found = carry(BASE + other, FIXED + other, {"p.c": BASE})
    assert [(f.kind, f.about) for f in found.findings] == [(Objection.UNKNOWN, "LIMIT")]


def test_a_name_that_the_fix_brings_itself_is_none() -> None:
    fixed = FIXED.replace('#include "p.h"\n', '#include "p.h"\n#define LIMIT 64\n')
    assert carry(BASE, fixed, {"p.c": BASE}, more="").is_whole


def test_a_fix_that_is_there_already_is_said_to_be() -> None:
    found = carry(BASE, FIXED, old(FIXED))
    assert not found.carried and [f.kind for f in found.findings] == [Objection.THERE]


def test_a_fix_that_the_old_release_has_at_another_line_is_not_made_twice() -> None:
    """Its maintainers took the same check in another patch, a few lines above."""
    check = "    if (n > LIMIT)\n        return -1;\n"
    longer = "    copy_start(into);\n    copy_more(into);\n    copy_less(into);\n    copy_next(into);\n"
    base = BASE.replace("    copy_bytes(into, s, n);\n", f"{longer}    copy_bytes(into, s, n);\n")
    fixed = base.replace("    copy_bytes(into, s, n);\n", CHECK)
    ours = base.replace("    copy_start", f"{check}    copy_start")
    found = carry(base, fixed, old(ours))
    assert [(f.kind, f.about) for f in found.findings] == [(Objection.THERE, "read_one")] and not found.is_whole
    assert carry(base, fixed, old(base)).is_whole


def test_a_fix_that_the_old_release_has_under_another_name_is_said_to_be_there() -> None:
    """Beside it, the old release differs from the newer one in the same function."""
    ours = FIXED.replace("size_of(s)", "size_of(s, 0)").replace("copy_two(into, s, n)", "copy_two(into, n)")
    found = carry(BASE, FIXED, old(ours))
    assert not found.carried and [f.kind for f in found.findings] == [Objection.THERE]


def test_a_file_that_the_old_release_has_not_is_said_to_be_absent() -> None:
    assert [f.kind for f in carry(BASE, FIXED, {"x.c": FIXED}, more="").findings] == [Objection.ABSENT]


def test_documents_and_tests_are_left_out() -> None:
    changes = [FileChange("tests/t.c", "", "int t;\n"), FileChange("p.c", BASE, FIXED)]
    ours = old(BASE)
    known = frozenset(w for text in ours.values() for w in names(text))
    found = backport(changes, Old(ours.get, lambda p: [], lambda w: w & known), lambda w: frozenset())
    assert found.is_whole and found.left_out == ("tests/t.c",)
