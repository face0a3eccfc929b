"""Both sides of a fix that a person has to look at."""

from __future__ import annotations

from pathlib import Path

from suture.els.carry import Carrier
from suture.els.need import needs
from suture.els.review import reviewed
from suture.report.els import BackportedFix, FixState
from tests.els.made_up import package

NEWER = "int f(int n)\n{\n    int m = n;\n    return m;\n}\n"
FIXED = NEWER.replace("return m;", "return m < 0 ? 0 : m;")
OLD = NEWER.replace("return m;", "return m << 1 | other(n, m);")
B = "int b(void)\n{\n    return 0;\n}\n"


def test_the_fix_what_was_made_of_it_and_each_place_that_does_not_fit_are_shown(tmp_path: Path) -> None:
    patches = [("CVE-2026-1111.patch", "fix", {"a.c": FIXED, "b.c": B.replace("0", "1")})]
    newer = package(tmp_path, "2-1", {"a.c": NEWER, "b.c": B}, patches)
    old = package(tmp_path, "1-1", {"a.c": OLD, "b.c": B})
    [need] = needs(old, newer)
    carrier = Carrier(old, newer)
    found = carrier.carry(need)
    row = BackportedFix(need.cves, (), FixState.HANDED_OVER, "", (), (), ())
    one, two = reviewed(row, need, found, carrier.newer, carrier.read).files
    assert one.path == "a.c" and "+    return m < 0 ? 0 : m;" in one.newer and one.older == ""
    [place] = one.conflicts
    assert (place.before, place.older, place.newer) == (
        "    return m;\n",
        "    return m << 1 | other(n, m);\n",
        "    return m < 0 ? 0 : m;\n",
    )
    assert two.path == "b.c" and two.conflicts == () and "+    return 1;" in two.older and two.older == two.newer
