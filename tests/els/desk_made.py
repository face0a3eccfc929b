"""A desk with a package made up for it: one fix that fits, one that does not, and a built version that waits."""

from __future__ import annotations

from pathlib import Path

from suture.cli.els.build import carried_report
from suture.cli.els.status import packages
from suture.els.desk import ReviewDesk
from suture.els.need import needs
from suture.els.package import PackageWish, sort
from suture.els.shelf import BuiltShelf
from suture.report.els import ElsGrade
from tests.els import made_up

OLD = "int f(int n)\n{\n    return n;\n}\n\nint g(int n)\n{\n    if (n)\n        use(n);\n    return (n + 1);\n}\n"
NEWER = OLD.replace("return (n + 1);", "return n + 1 - bias;")
FIXED = NEWER.replace("int f(int n)\n{\n", "int f(int n)\n{\n    if (n < 0)\n        return 0;\n")
BOTH = FIXED.replace("return n + 1 - bias;", "return n < 9 ? n + 2 - bias : 0;")


def desk(folder: Path) -> ReviewDesk:
    """CVE-2026-1111 fits; CVE-2026-2222 <b>does not</b>; x 1.0-1+deb11u1+suture1 waits."""
    patches = [("CVE-2026-1111.patch", "x", {"a.c": FIXED}), ("CVE-2026-2222.patch", "x", {"a.c": BOTH})]
    newer = made_up.package(folder, "1.1-1+deb12u1", {"a.c": NEWER}, patches)
    old = made_up.package(folder, "1.0-1+deb11u1", {"a.c": OLD})
    wish = PackageWish(old, newer)
    shelf = BuiltShelf(folder / "built")
    shelf.keep_carried(carried_report(wish, sort(needs(old, newer), wish)))
    shelf.keep(made_up.report(folder / "built", ElsGrade.REVIEW))
    place = folder / "repository"
    return ReviewDesk(
        shelf, folder / "drafts", "ann", lambda _: (old, newer), lambda name: packages(shelf, place, folder, name)
    )
