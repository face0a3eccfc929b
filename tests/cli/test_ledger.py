"""Every line of a fix is accounted for: by `suture make` on small projects of one's own, and in what it prints."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path
from typing import Any

import pytest

from suture.cli.ledger import cve_lines, fix_lines
from suture.delta.ledger import Account, Fate, FileAccount, Ledger, Lines
from suture.error import ExitCode
from suture.patch.file import read_patch
from suture.patch.manifest import FixFact
from tests.command import suture

LIBRARY = """#include "shape.h"
#include <stdio.h>
int limit = 1000;
#if 0
not compiled
#endif
int check(int n) { if (n > limit) { printf("check %d\\n", n); return 1; } return 0; }
int guard(int n) {
  int factor = 9;

  printf("guard old %d of many\\n", n);
  return n * factor + EXTRA;
}
#include "part.txt"
int quiet(int n) {
  static int calls = 1;
  /* one */
  calls += n;
  return n * 3 + printf("quiet %d\\n", calls);
}
"""
FILES = {
    "l.c": LIBRARY,
    "shape.h": "#define EXTRA 5\n#define UNUSED 1\nstatic inline int area(int n) { return n * n; }\n",
    "part.txt": "int part(int n) { return printf(\"part %d\\n\", n) + area(n); }\n",
    "own.c": "#include <stdio.h>\nint own(int n) { return printf(\"own %d\\n\", n); }\n",
    "again.c": "#define own again\n#include \"own.c\"\n",
    "README": "words\n",
    "other.c": "int other(void) { return 1; }\n",
    "tool.c": ("#include <stdio.h>\n#include \"shape.h\"\nint main(int c, char **v) { return printf(\"tool %d\\n\", c + "  # noqa: E501
        "EXTRA); }\n"),
    "Makefile": ("all: libl.so tool\ntool: tool.o\n\tgcc -Wl,--build-id -o tool tool.o\n"
        "libl.so: l.o own.o again.o\n\tgcc -shared -Wl,--build-id -o libl.so l.o own.o again.o\n"
        "%.o: %.c\n\tgcc -O2 -g -fPIC -c $< -o $@\n"),
}  # fmt: skip


class Project:
    """A library of one's own, recorded and stripped."""

    def __init__(self, folder: Path) -> None:
        self.root, self.shipped = folder / "project", folder / "libl.so"
        self.root.mkdir()
        for name, text in FILES.items():
            (self.root / name).write_text(text)
        suture("record", "--", "make", cwd=self.root, check=True)
        subprocess.run(["strip", "-o", self.shipped, self.root / "libl.so"], check=True)

    def fix(self, name: str, *changes: tuple[str, str, str], prose: str = "") -> Path:
        """A patch: (file, old text, new text) each."""
        fixed = self.root.parent / "fixed"
        texts: dict[str, str] = {}
        for file, old, new in changes:
            text = texts.get(file, FILES.get(file, ""))
            assert old in text
            texts[file] = text.replace(old, new, 1)
        rows = [prose]
        for file, text in texts.items():
            fixed.write_text(text)
            old_file = self.root / file if file in FILES else Path("/dev/null")
            labels = [f"--label={'a/' + file if file in FILES else '/dev/null'}", f"--label=b/{file}"]
            done = subprocess.run(["diff", "-u", *labels, old_file, fixed], capture_output=True, text=True, check=False)
            rows.append(done.stdout)
        path = self.root.parent / name
        path.write_text("".join(rows))
        return path

    def make(self, code: int, *fixes: Path, words: tuple[str, ...] = ()) -> Any:
        given = [x for fix in fixes for x in ("--fix", str(fix))]
        out = self.root.parent / "out"
        command = ["make", "--tree", self.root, "--binary", self.shipped, "--output", out, *given, *words]
        done = suture(*command, "--json")
        assert done.returncode == code, done.stdout + done.stderr
        return json.loads(done.stdout)


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Project:
    monkeypatch.setenv("SUTURE_CACHE", str(tmp_path / "cache"))
    return Project(tmp_path)


def accounts(patch: Any, fix: int = 0) -> dict[str, list[tuple[str, str, list[str]]]]:
    """By file: what became of which lines ("-" removed, "+" added), and the functions."""

    def lines(one: Any) -> str:
        ranges = [(s, r) for s, rows in (("-", one["removed"]), ("+", one["added"])) for r in rows]
        return " ".join(f"{s}{a}" if a == b else f"{s}{a}-{b}" for s, (a, b) in ranges)

    files = patch["ledgers"][fix]["files"]
    return {f["path"]: [(a["fate"], lines(a), a["functions"]) for a in f["accounts"]] for f in files}


def test_each_line_belongs_to_the_functions_that_it_changes(project: Project) -> None:
    """A declaration without code inside a function is that function's, one that changes nothing is the same, a document
    no code."""
    fix = project.fix(
        "x.patch",
        ("l.c", "guard old", "guard new"),
        ("l.c", "  int factor = 9;\n", "  int factor;\n  factor = 8;\n"),
        ("l.c", "/* one */", "/* two */"),
        ("README", "words", "more words"),
        ("part.txt", "part %d", "parts %d"),
    )
    (patch,) = project.make(ExitCode.OK, fix)["patches"]
    assert patch["complete"] and patch["safe"]
    found = accounts(patch)
    assert sorted(found["l.c"]) == [
        ("patched", "-9 -11 +9-10 +12", ["guard"]),
        ("same", "-17 +18", []),
    ]
    assert found["README"] == [("no code", "-1 +1", [])]
    assert found["part.txt"] == [("patched", "-1 +1", ["part"])]


def test_a_macro_belongs_to_all_that_it_changes_and_one_that_changes_nothing_is_proved_so(project: Project) -> None:
    (patch,) = project.make(ExitCode.OK, project.fix("x.patch", ("shape.h", "EXTRA 5", "EXTRA 6")))["patches"]
    assert accounts(patch)["shape.h"] == [("patched", "-1 +1", ["guard"])]
    said = project.make(ExitCode.REFUSED, project.fix("y.patch", ("shape.h", "UNUSED 1", "UNUSED 2")))
    assert "(2) are the same before and after" in said["error"]


def test_a_file_that_is_compiled_itself_and_included_elsewhere_is_patched_in_both(project: Project) -> None:
    (patch,) = project.make(ExitCode.OK, project.fix("x.patch", ("own.c", "own %d", "owns %d")))["patches"]
    assert accounts(patch)["own.c"] == [("patched", "-2 +2", ["again", "own"])]
    assert set(patch["functions"]) == {"again", "own"}


def test_a_part_that_is_refused_is_missing_and_its_cve_is_not_closed(project: Project) -> None:
    """The initial value of a variable is set already: half of the fix can't be applied."""
    fix = project.fix("CVE-2099-0001.patch", ("l.c", "limit = 1000", "limit = 10"), ("l.c", "guard old", "guard new"))
    said = project.make(ExitCode.PARTIAL, fix)
    (patch,) = said["patches"]
    assert (
        not patch["complete"] and not patch["safe"] and patch["cves"] == [] and patch["named_cves"] == ["CVE-2099-0001"]
    )
    assert sorted(accounts(patch)["l.c"]) == [("missing", "-3 +3", []), ("patched", "-11 +11", ["guard"])]
    shown = suture("show", patch["path"], check=True).stdout
    assert "PARTIAL" in shown and "CVE-2099-0001: not closed" in shown and "initial value" in shown


def test_the_initial_value_of_a_variable_inside_a_function_is_missing_by_its_line(project: Project) -> None:
    fix = project.fix(
        "x.patch", ("l.c", "static int calls = 1", "static int calls = 2"), ("l.c", "guard old", "guard new")
    )
    (patch,) = project.make(ExitCode.PARTIAL, fix)["patches"]
    assert sorted(accounts(patch)["l.c"]) == [("missing", "-16 +16", []), ("patched", "-11 +11", ["guard"])]


def test_files_that_no_unit_reads_are_missing_with_the_reason_and_a_document_is_not(project: Project) -> None:
    fix = project.fix("x.patch", ("l.c", "guard old", "guard new"), ("other.c", "1;", "2;"), ("README", "words", "x"))
    (patch,) = project.make(ExitCode.PARTIAL, fix)["patches"]
    assert not patch["complete"]
    assert accounts(patch)["other.c"] == [("missing", "-1 +1", [])]
    said = project.make(ExitCode.REFUSED, project.fix("y.patch", ("other.c", "1;", "2;")))
    assert [r["file"] for r in said["refused"]] == ["other.c"] and "no unit" in said["refused"][0]["reason"]


def test_a_document_that_a_unit_includes_is_code_and_so_is_a_new_file(project: Project) -> None:
    include = ('#include "part.txt"', '#include "part.txt"\n#include "new.h"')
    fix = project.fix(
        "x.patch", ("l.c", *include), ("new.h", "", "#undef EXTRA\n#define EXTRA 7\n"), ("l.c", "old", "new")
    )
    (patch,) = project.make(ExitCode.OK, fix)["patches"]
    assert accounts(patch)["new.h"] == [("patched", "+1-2", ["guard"])]


def test_each_of_several_fixes_has_its_own_ledger_and_closes_its_own_cves(project: Project) -> None:
    whole = project.fix("CVE-2099-0001.patch", ("l.c", "guard old", "guard new"))
    half = project.fix("CVE-2099-0002.patch", ("own.c", "own %d", "owns %d"), ("other.c", "1;", "2;"))
    (patch,) = project.make(ExitCode.PARTIAL, whole, half)["patches"]
    assert patch["cves"] == ["CVE-2099-0001"] and not patch["complete"]
    assert accounts(patch, 0) == {"l.c": [("patched", "-11 +11", ["guard"])]}
    assert accounts(patch, 1)["other.c"][0][0] == "missing"


def test_two_halves_of_one_fix_close_its_cve_together_or_not_at_all(project: Project) -> None:
    """By the names of their files. What is named and not claimed is shown with the reason, by make and by show."""
    one = project.fix("CVE-2099-0001-1.patch", ("l.c", "guard old", "guard new"))
    two = project.fix("CVE-2099-0001-2.patch", ("own.c", "own %d", "owns %d"))
    half = project.fix("CVE-2099-0001-part2.patch", ("own.c", "own %d", "owned %d"), ("other.c", "1;", "2;"))
    (patch,) = project.make(ExitCode.OK, one, two)["patches"]
    assert patch["cves"] == patch["named_cves"] == ["CVE-2099-0001"]
    (patch,) = project.make(ExitCode.PARTIAL, one, half)["patches"]
    assert patch["cves"] == [] and patch["named_cves"] == ["CVE-2099-0001"]
    (patch,) = project.make(ExitCode.OK, one)["patches"]
    assert patch["cves"] == [] and patch["named_cves"] == ["CVE-2099-0001"] and patch["complete"]
    shown = suture("show", patch["path"], check=True).stdout
    assert "\ntarget    libl.so (project, x86_64)\n" in shown, "no package and no version: no blanks for them"
    (line,) = [x for x in shown.splitlines() if x.startswith("CVEs")]
    assert "CVE-2099-0001: named, not claimed: CVE-2099-0001-1.patch is part 1" in line and "--cve" in line
    (patch,) = project.make(ExitCode.OK, one, words=("--cve", "CVE-2099-0001"))["patches"]
    assert patch["cves"] == ["CVE-2099-0001"]


def test_changes_of_modes_and_of_a_binary_document_before_a_text_leave_the_fix_whole(project: Project) -> None:
    modes = "".join(f"diff --git a/{n} b/{n}\nold mode 100644\nnew mode 100755\n" for n in ("Makefile", "own.c"))
    binary = "diff --git a/doc/t.png b/doc/t.png\nindex 1..2 100644\nBinary files a/doc/t.png and b/doc/t.png differ\n"
    fix = project.fix("CVE-2099-0001.patch", ("l.c", "guard old", "guard new"), prose=modes + binary)
    (patch,) = project.make(ExitCode.OK, fix)["patches"]
    assert patch["cves"] == ["CVE-2099-0001"]
    assert [(n, a[0][0]) for n, a in accounts(patch).items()] == [
        ("Makefile", "no code"), ("own.c", "no code"), ("doc/t.png", "no code"), ("l.c", "patched"),
    ]  # fmt: skip
    (patch,) = project.make(ExitCode.OK, fix, words=("--only", "l.c"))["patches"]
    assert {a[0][0] for a in accounts(patch).values()} == {"no code", "patched"}


def test_a_symbolic_link_of_a_fix_is_not_followed_and_is_missing(project: Project) -> None:
    link = "diff --git a/l.h b/l.h\nnew file mode 120000\n--- /dev/null\n+++ b/l.h\n@@ -0,0 +1 @@\n+/etc/hostname\n"
    fix = project.fix("CVE-2099-0001.patch", ("l.c", "guard old", "guard new"), prose=link)
    (patch,) = project.make(ExitCode.PARTIAL, fix)["patches"]
    assert accounts(patch)["l.h"][0][0] == "missing" and patch["cves"] == []


def test_a_fix_that_changes_no_code_says_of_what(project: Project) -> None:
    said = project.make(ExitCode.REFUSED, project.fix("x.patch", ("l.c", "/* one */", "/* two */")))
    assert "changes no code of project: the units" in said["error"]


def groups(patch: Any) -> list[list[str]]:
    return sorted(sorted(f.name for f in g.functions) for g in read_patch(Path(patch["path"])).manifest.groups)


def test_functions_of_one_fix_are_one_group_across_files_and_those_of_another_fix_another(project: Project) -> None:
    one = project.fix("CVE-2099-0001.patch", ("l.c", "guard old", "guard new"), ("own.c", "own %d", "owns %d"))
    other = project.fix("CVE-2099-0002.patch", ("part.txt", "part %d", "parts %d"))
    (patch,) = project.make(ExitCode.OK, one, other)["patches"]
    assert groups(patch) == [["again", "guard", "own"], ["part"]]


def test_a_macro_of_one_fix_joins_all_that_the_units_with_it_change(project: Project) -> None:
    one = project.fix("CVE-2099-0001.patch", ("shape.h", "EXTRA 5", "EXTRA 6"))
    other = project.fix("CVE-2099-0002.patch", ("part.txt", "part %d", "parts %d"))
    third = project.fix("CVE-2099-0003.patch", ("own.c", "own %d", "owns %d"))
    (patch,) = project.make(ExitCode.OK, one, other, third)["patches"]
    assert groups(patch) == [["again", "own"], ["guard", "part"]]


def test_functions_of_one_fix_switch_apart_for_a_reason_and_verify_makes_the_same(project: Project) -> None:
    fix = project.fix("CVE-2099-0001.patch", ("own.c", "own %d", "owns %d"))
    (patch,) = project.make(ExitCode.OK, fix, words=("--apart", "each stands alone"))["patches"]
    assert groups(patch) == [["again"], ["own"]]
    suture("verify", patch["path"], "--tree", project.root, "--binary", project.shipped, check=True)
    shown = suture("show", patch["path"], check=True).stdout
    assert "each stands alone" in shown
    (together,) = project.make(ExitCode.OK, fix)["patches"]
    assert groups(together) == [["again", "own"]] and together["path"] != patch["path"]


def test_what_concerns_another_program_alone_is_told_apart_from_what_is_missing(project: Project) -> None:
    """A CVE whose fix changes both is closed by both patches together, and by none alone."""
    name = "CVE-2099-0001.patch"
    fix = project.fix(name, ("l.c", "guard old", "guard new"), ("tool.c", "tool %d", "tools %d"))
    (patch,) = project.make(ExitCode.OK, fix)["patches"]
    assert accounts(patch) == {"l.c": [("patched", "-11 +11", ["guard"])], "tool.c": [("elsewhere", "-3 +3", [])]}
    assert patch["cves"] == [] and patch["complete"] and list(patch["shared_cves"]) == ["CVE-2099-0001"]
    assert "tool" in patch["shared_cves"]["CVE-2099-0001"][0]
    (patch,) = project.make(ExitCode.OK, project.fix(name, ("shape.h", "EXTRA 5", "EXTRA 6")))["patches"]
    assert accounts(patch)["shape.h"] == [("patched", "-1 +1", ["guard"])] and patch["shared_cves"]
    said = project.make(ExitCode.REFUSED, project.fix(name, ("tool.c", "tool %d", "tools %d")))
    assert "tool" in said["error"] and "none of libl.so" in said["error"]


def test_what_is_left_out_with_only_is_missing(project: Project) -> None:
    fix = project.fix(
        "CVE-2099-0001.patch", ("l.c", "guard old", "guard new"), ("own.c", "own", "owns"), ("README", "s", "z")
    )
    (patch,) = project.make(ExitCode.PARTIAL, fix, words=("--only", "l.c"))["patches"]
    assert accounts(patch)["own.c"][0][0] == "missing" and accounts(patch)["README"][0][0] == "no code"
    assert patch["cves"] == []


@pytest.mark.parametrize(
    ("old", "new", "word"),
    [
        ("int quiet(", "__attribute__((constructor)) static void first(void) { printf(\"first\\n\"); }\nint quiet(",
        "constructors"),
        ("int quiet(", "int added(int n) { return printf(\"added %d\\n\", n); }\nint quiet(", "added"),
        ("int quiet(", "int added = 7;\nint quiet(", "added"),
        ("int quiet(", "int other_name(int) __attribute__((alias(\"guard\")));\nint quiet(", "other_name"),
        ("int quiet(", "__attribute__((section(\"odd_set\"))) int quiet(", "odd_set"),
    ],
)  # fmt: skip
def test_what_functions_can_not_carry_is_missing(project: Project, old: str, new: str, word: str) -> None:
    """A constructor, a new exported symbol that nothing here uses, another section."""
    fix = project.fix("CVE-2099-0001.patch", ("l.c", "guard old", "guard new"), ("l.c", old, new))
    said = project.make(ExitCode.PARTIAL, fix)
    (patch,) = said["patches"]
    assert patch["cves"] == [] and not patch["complete"]
    assert any(word in r["reason"] for r in said["refused"])


def test_a_new_function_that_the_patch_calls_is_in_it(project: Project) -> None:
    new = 'int added(int n) { return printf("added %d\\n", n); }\nint guard('
    fix = project.fix("x.patch", ("l.c", "int guard(", new), ("l.c", "return n * factor", "return added(n) * factor"))
    (patch,) = project.make(ExitCode.OK, fix)["patches"]
    assert ("patched", "+8", ["added"]) in accounts(patch)["l.c"] or any(
        "added" in a[2] for a in accounts(patch)["l.c"]
    )


def test_two_fixes_never_get_one_file_name_and_the_same_fix_gets_the_same(project: Project) -> None:
    one = project.fix("CVE-2099-0001.patch", ("l.c", "guard old", "guard new"))
    first = project.make(ExitCode.OK, one)["patches"][0]
    assert project.make(ExitCode.OK, one)["patches"][0]["path"] == first["path"]
    text = one.read_text()
    project.fix("CVE-2099-0001.patch", ("own.c", "own %d", "owns %d"))
    second = project.make(ExitCode.OK, one)["patches"][0]
    one.write_text(text)
    assert Path(first["path"]).exists() and first["path"] != second["path"] and first["replaced"] == ""
    Path(first["path"]).write_bytes(b"another")
    assert project.make(ExitCode.OK, one)["patches"][0]["replaced"]


def test_made_again_it_has_the_same_ledger(project: Project) -> None:
    fix = project.fix("CVE-2099-0001.patch", ("l.c", "guard old", "guard new"), ("other.c", "1;", "2;"))
    (patch,) = project.make(ExitCode.PARTIAL, fix)["patches"]
    done = suture("verify", patch["path"], "--tree", project.root, "--binary", project.shipped)
    assert done.returncode == 0 and f"again from {project.root}," in done.stdout, done.stdout + done.stderr


def test_a_line_of_several_functions_that_are_missing_tells_of_the_first_by_name(project: Project) -> None:
    """Whatever order sets have: `verify` compares the ledger byte by byte too."""
    names = [f"added_{n}" for n in range(12)]
    new = " ".join(f'int {n}(int n) {{ return printf("{n} %d\\n", n); }}' for n in names)
    fix = project.fix("x.patch", ("l.c", "int guard(", f"{new}\nint guard("), ("l.c", "guard old", "guard new"))
    (patch,) = project.make(ExitCode.PARTIAL, fix)["patches"]
    assert ("missing", "+8", ["added_0"]) in accounts(patch)["l.c"]


PATCHED = Account(Fate.PATCHED, (Lines(3, 4),), (Lines(3, 8),), ("a", "_ZN2ns3fooEi", "c", "d", "e"), 1, ("libb.so",))
MISSING = [
    FileAccount(f"{n}.c", (Account(Fate.MISSING, (), (Lines(1, 2),), reason="why", remedy="do"),)) for n in range(8)
]


def test_a_reason_is_printed_once_and_names_are_demangled() -> None:
    fix = FixFact("x.patch", ("CVE-2099-0001",), "", Ledger((FileAccount("a.cc", (PATCHED,)), *MISSING)))
    lines = fix_lines([fix], "liba.so", whole=False)
    assert lines[0] == "fix x.patch: 24 changed lines in 9 files: 16 missing, 8 in this patch"
    assert sum("why" in x for x in lines) == 1 and "7.c (2 lines)" in next(x for x in lines if "why" in x)
    assert any("ns::foo(int)" in x and "and 1 more" in x and "also changes libb.so" in x for x in lines)
    assert any("removed 3-4, added 3-8" in x for x in fix_lines([fix], "liba.so", whole=True))
    assert cve_lines([fix], "liba.so") == ["CVE-2099-0001: not closed: part of x.patch is missing in liba.so"]
    shared = FixFact("x.patch", ("CVE-2099-0001",), "", Ledger((FileAccount("a.cc", (PATCHED,)),)))
    assert cve_lines([shared], "liba.so") == [
        "CVE-2099-0001: closed where libb.so is patched too, which the fix changes as well"
    ]
