"""Whose an error of the compiler is."""

from __future__ import annotations

from pathlib import Path

from suture.els.compiler import refused_by_compiler
from suture.els.need import fixed
from suture.els.package import PackageWish, sort
from suture.els.source_package import CarriedFix
from tests.els.made_up import package

OLD = (
    "int f(int n)\n{\n    return n;\n}\n\nint g(int n)\n{\n    return n;\n}\n\n"
    "int h(int n)\n{\n    if (n)\n        return 1;\n    return n;\n}\n"
)
FIRST = OLD.replace("int f(int n)\n{\n", "int f(int n)\n{\n    if (n < 0)\n        return 0;\n")
SECOND = FIRST.replace("int g(int n)\n{\n", "int g(int n)\n{\n    if (limits.most < n)\n        return 0;\n")


def fixes(root: Path) -> tuple[CarriedFix, ...]:
    patches = [("CVE-2026-1111.patch", "x", {"src/a.c": FIRST}), ("CVE-2026-2222.patch", "x", {"src/a.c": SECOND})]
    newer = package(root, "1.1-1", {"src/a.c": OLD}, patches)
    return sort(fixed(newer), PackageWish(package(root, "1.0-1", {"src/a.c": OLD}), newer)).inside


def error(path: str, line: int) -> str:
    return f"gcc -c a.c\n{path}:{line}:9: error: \u2018limits\u2019 undeclared\nmake: *** [Makefile:4: a.o] Error 1\n"


def test_an_error_is_that_of_the_fix_that_changes_its_function(tmp_path: Path) -> None:
    own = fixes(tmp_path)
    line = SECOND.split("\n").index("    if (limits.most < n)") + 1
    for path in ("src/a.c", "../src/a.c", "./a.c"):
        assert refused_by_compiler(error(path, line), own) == {"CVE-2026-2222": "\u2018limits\u2019 undeclared"}


def test_an_error_elsewhere_is_nobodys(tmp_path: Path) -> None:
    own = fixes(tmp_path)
    last = SECOND.split("\n").index("int h(int n)") + 2
    assert refused_by_compiler(error("src/a.c", last), own) == {}
    assert refused_by_compiler(error("src/b.c", 3), own) == {}
    assert refused_by_compiler("make: *** [Makefile:4: a.o] Error 1\n", own) == {}


def test_a_fix_that_does_not_compile_stays_out_with_what_the_compiler_said(tmp_path: Path) -> None:
    patches = [("CVE-2026-1111.patch", "x", {"a.c": FIRST}), ("CVE-2026-2222.patch", "x", {"a.c": SECOND})]
    newer, old = package(tmp_path, "1.1-1", {"a.c": OLD}, patches), package(tmp_path, "1.0-1", {"a.c": OLD})
    found = sort(fixed(newer), PackageWish(old, newer, broken={"CVE-2026-1111": "no luck"}))
    assert [f.need.cves for f in found.inside] == [("CVE-2026-2222",)]
    [(need, left)] = found.left_out
    assert need.cves == ("CVE-2026-1111",) and not left.is_whole
    assert left.findings[-1].reason == "the old release does not compile with it: no luck"
