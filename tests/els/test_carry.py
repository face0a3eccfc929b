"""Fixes of one package carried to an older one, patch by patch."""

from __future__ import annotations

from pathlib import Path

import pytest

from suture.els.carry import Carrier
from suture.els.need import needs
from suture.els.patch import text
from suture.report.els import Objection
from suture.source.fix import parse
from tests.els.made_up import package

A = (
    "#include <x.h>\n\nint z(int n)\n{\n    if (n)\n        use(n);\n    return n;\n}\n\n"
    "int a(int n)\n{\n    use(n);\n    return n;\n}\n"
)
FIRST = A.replace("{\n    use(n);\n", "{\n    if (n < 0)\n        return -1;\n    use(n);\n")
SECOND = FIRST.replace("n < 0", "n < 0 || n > 9")


def test_two_patches_for_one_cve_are_one_fix_and_the_second_stands_on_the_first(tmp_path: Path) -> None:
    parts = [
        ("CVE-2026-1111-1.patch", "Part one", {"a.c": FIRST}),
        ("CVE-2026-1111-2.patch", "Part two", {"a.c": SECOND}),
    ]
    newer = package(tmp_path, "2-1", {"a.c": A}, parts)
    old = package(tmp_path, "1-1", {"a.c": "/* old */\n" + A})
    (need,) = needs(old, newer)
    assert need.cves == ("CVE-2026-1111",) and len(need.patches) == 2
    found = Carrier(old, newer).carry(need)
    assert found.is_whole
    ((path, before, after),) = [(c.path, c.before, c.after) for c in found.carried]
    assert (path, before, after) == ("a.c", "/* old */\n" + A, "/* old */\n" + SECOND)
    made = text(need, found, newer)
    assert "Origin: backport, x 2-1, CVE-2026-1111-1.patch, CVE-2026-1111-2.patch" in made
    assert parse(made, "CVE-2026-1111.patch").cves == ("CVE-2026-1111",)


def test_a_fix_that_is_handed_over_changes_nothing_for_the_next(tmp_path: Path) -> None:
    other = "int b(void)\n{\n    return 0;\n}\n"
    newer = package(
        tmp_path,
        "2-1",
        {"a.c": A, "b.c": other},
        [
            ("CVE-2026-1111.patch", "fix", {"a.c": FIRST, "b.c": other.replace("0", "1")}),
            ("CVE-2026-2222.patch", "fix", {"a.c": FIRST.replace("return n;\n}\n", "return n + 1;\n}\n")}),
        ],
    )
    old = package(tmp_path, "1-1", {"a.c": A})
    carrier = Carrier(old, newer)
    first, second = (carrier.carry(n) for n in needs(old, newer))
    assert [f.kind for f in first.findings] == [Objection.ABSENT]
    assert second.is_whole and second.carried[0].after == A.replace("return n;\n}\n", "return n + 1;\n}\n")


def test_a_fix_may_use_what_a_fix_before_it_brings(tmp_path: Path) -> None:
    helper = A.replace(
        "int z(int n)", "static int bounded(int n)\n{\n    if (n)\n        use(n);\n    return n;\n}\n\nint z(int n)"
    )
    user = helper.replace("int a(int n)\n{\n    use(n);", "int a(int n)\n{\n    use(bounded(n));")
    patches = [("CVE-2026-1111.patch", "fix", {"a.c": helper}), ("CVE-2026-2222.patch", "fix", {"a.c": user})]
    newer, old = package(tmp_path, "2-1", {"a.c": A}, patches), package(tmp_path, "1-1", {"a.c": A})
    carrier = Carrier(old, newer)
    assert [carrier.carry(n).is_whole for n in needs(old, newer)] == [True, True]
    alone = Carrier(old, newer).carry(needs(old, newer)[1])
    assert [(f.kind, f.about) for f in alone.findings][-1:] == [(Objection.UNKNOWN, "bounded")]


@pytest.mark.parametrize(("changelog", "left"), [("Fix CVE-2026-1111", 0), ("Other", 1)])
def test_what_the_old_changelog_names_is_no_need(tmp_path: Path, changelog: str, left: int) -> None:
    newer = package(tmp_path, "2-1", {"a.c": A}, [("CVE-2026-1111.patch", "fix", {"a.c": FIRST})])
    assert len(needs(package(tmp_path, "1-1", {"a.c": A}, changelog=changelog), newer)) == left
