"""A package made up for it, built whole in a clean room of bullseye: one of its tests fails without the fixes too, two
fixes change the same function, and a third is there already under another name."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import pytest

from suture.cli.els import build as verb
from suture.compile import room
from suture.els import package
from suture.els.comparison import UnpackedPackages
from suture.els.need import needs
from suture.els.package import PackageWish
from suture.els.standing import standing
from suture.error import Refused
from suture.progress import silent
from suture.report.els import ElsGrade, ElsHoleState, TestsOutcome
from suture.source import cache
from suture.source.archive import Archive, SourceVersion
from tests.els import made_up

pytestmark = [
    pytest.mark.slow,
    pytest.mark.archive,
    pytest.mark.skipif(os.geteuid() != 0, reason="only root makes chroots"),
]

PROGRAM = """\
#include <stdio.h>
#include <stdlib.h>

static int table[16];

__attribute__((noinline)) int place(int n, int step)
{
    int at = n * step;

    table[at] = n;
    return at;
}

__attribute__((noinline)) int half(int n)
{
    return n / 2;
}

int main(int argc, char **argv)
{
    if (argc > 2)
        printf("%d\\n", place(atoi(argv[1]), atoi(argv[2])));
    else if (argc > 1)
        printf("%d\\n", half(atoi(argv[1])));
    return 0;
}
"""
NEGATIVE = PROGRAM.replace(
    "    int at = n * step;\n", "    int at = n * step;\n\n    if (n < 0 || step < 0)\n        return -1;\n"
)
LARGE = NEGATIVE.replace("    table[at] = n;\n", "    if (at > 15)\n        return -1;\n    table[at] = n;\n")
HALF = "{\n    if (n < 0)\n        return 0;\n    return n / 2;\n}\n"
CHECK = """\
check() {{ test "$(./x $2 2>&1)" = "$3" && echo "PASS: $1" || echo "FAIL: $1"; }}
{{ check a "4" 2; check b "2 3" 6; check c "6 1" 6; check network "0" online; }} >results
cat results
for word in PASS FAIL; do echo "# $word:  $(grep --count "^$word" results)"; done
! grep --quiet "^FAIL" results
"""
RULES = """\
#!/usr/bin/make -f
clean:
	rm -f x results
build build-arch build-indep:
	gcc -O2 -o x x.c
ifeq (,$(findstring nocheck,$(DEB_BUILD_OPTIONS)))
	sh check.sh # make check
endif
binary binary-arch binary-indep: build
	mkdir -p debian/x/DEBIAN debian/x/usr/bin
	cp x debian/x/usr/bin/
	dpkg-gencontrol -px -Pdebian/x
	dpkg-deb --root-owner-group --build debian/x ..
"""


def source(
    root: Path, version: str, program: str, patches: Sequence[tuple[str, str, Mapping[str, str]]]
) -> SourceVersion:
    """The package in a version, as the archive hands it out."""
    found = made_up.package(root, version, {"x.c": program, "check.sh": CHECK.format()}, patches)
    debian = found.tree / "debian"
    (debian / "source").mkdir()
    (debian / "source/format").write_text("3.0 (quilt)\n")
    said = "Source: x\nMaintainer: x <x@x>\nRules-Requires-Root: no\n\nPackage: x\nArchitecture: any\nDescription: x\n"
    (debian / "control").write_text(said)
    (debian / "rules").write_text(RULES)
    (debian / "rules").chmod(0o755)
    with (debian / "changelog").open("a") as changelog:
        changelog.write("\n -- x <x@x>  Thu, 01 Jan 2026 00:00:00 +0000\n")
    upstream = root / f"x-{found.upstream}"
    upstream.mkdir()
    (upstream / "x.c").write_text(program)
    (upstream / "check.sh").write_text(CHECK.format())
    pack = ["tar", "-cJf", str(found.dsc.parent / f"x_{found.upstream}.orig.tar.xz"), "-C", str(root), upstream.name]
    subprocess.run(pack, check=True)
    applied = "".join(f"{name}\n" for name, _, _ in patches)
    (found.tree / ".pc").mkdir(exist_ok=True)
    (found.tree / ".pc/.version").write_text("2\n")
    (found.tree / ".pc/.quilt_patches").write_text("debian/patches\n")
    (found.tree / ".pc/.quilt_series").write_text("series\n")
    (found.tree / ".pc/applied-patches").write_text(applied)
    return found


@pytest.fixture(autouse=True)
def alone(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """The archive knows nothing of the package, and needs nothing for it but a compiler."""
    monkeypatch.setattr(package, "building_room", lambda *_: room.base(Archive("bullseye")))
    monkeypatch.setattr(package, "versions", lambda *_: [OLD])
    monkeypatch.setattr(package, "_shipped", lambda *_: UnpackedPackages({}))
    cache.discard(cache.root() / "build/x")
    yield
    cache.discard(cache.root() / "build/x")


OLD = "1.0-1+deb11u1"


def test_tests_that_failed_before_are_compared_and_two_fixes_of_one_function_go_in(tmp_path: Path) -> None:
    old = source(tmp_path / "old", OLD, PROGRAM, [("0001-halves.patch", "x", {"x.c": halved(PROGRAM)})])
    newer = source(
        tmp_path / "newer",
        "1.1-1+deb12u1",
        PROGRAM,
        [
            ("CVE-2026-1111.patch", "x", {"x.c": NEGATIVE}),
            ("CVE-2026-2222.patch", "x", {"x.c": LARGE}),
            ("CVE-2026-3333.patch", "x", {"x.c": halved(LARGE)}),
        ],
    )
    wish = PackageWish(old, newer)
    built = verb.build(needs(old, newer), wish, "bookworm", tmp_path / "built", silent)
    assert [f.cves for f in built.fixes] == [("CVE-2026-1111",), ("CVE-2026-2222",)]
    assert (built.tests.outcome, built.tests.failing) == (TestsOutcome.AS_BEFORE, ("network",))
    assert built.tests.before == built.tests.after == {"PASS": 3, "FAIL": 1}
    assert (built.grade, built.doubts, built.reproducible) == (ElsGrade.SAFE, (), True)
    assert {d.what for d in built.differences} <= {"place changes", "main changes"}  # main calls it
    program = unpacked(Path(built.folder), tmp_path / "root") / "usr/bin/x"
    said = [
        subprocess.run([program, *words], capture_output=True, text=True, check=False).stdout.strip()
        for words in (["-2", "1"], ["5", "9"], ["2", "3"])
    ]
    assert said == ["-1", "-1", "6"]

    carried = verb.carried_report(wish, package.sort(needs(old, newer), wish))
    states = [h.state for h in standing(carried, [built], (), [built.made], {}).holes]
    assert states == [ElsHoleState.PACKAGE, ElsHoleState.PACKAGE, ElsHoleState.THERE]


def test_a_fix_with_which_another_test_fails_is_refused(tmp_path: Path) -> None:
    old = source(tmp_path / "old", OLD, PROGRAM, [])
    broken = NEGATIVE.replace("return n / 2", "return n / 3")
    newer = source(tmp_path / "newer", "1.1-1+deb12u1", PROGRAM, [("CVE-2026-1111.patch", "x", {"x.c": broken})])
    with pytest.raises(Refused, match="failing now: a"):
        verb.build(needs(old, newer), PackageWish(old, newer), "bookworm", tmp_path / "built", silent)
    assert not list((tmp_path / "built").glob("x/*/build.json"))


def test_a_fix_with_which_the_old_release_does_not_compile_stays_out_and_the_others_go_on(tmp_path: Path) -> None:
    """The newer release's table has a member that the old one's has not; its name stands elsewhere in the old one."""
    record = "static struct { int most; } limits = {15};\n"
    program = PROGRAM.replace("static int table[16];\n", f"static int table[16];\n{record}")
    negative = NEGATIVE.replace("static int table[16];\n", f"static int table[16];\n{record}")
    checked = negative.replace(
        "    return n / 2;\n", "    if (n > limits.most)\n        return 0;\n    return n / 2;\n"
    )
    other = "static struct { int least; } limits = {0};\nenum { most = 1 };\n"
    ours = PROGRAM.replace("static int table[16];\n", f"static int table[16];\n{other}")
    old = source(tmp_path / "old", OLD, ours, [])
    patches = [("CVE-2026-1111.patch", "x", {"x.c": negative}), ("CVE-2026-2222.patch", "x", {"x.c": checked})]
    newer = source(tmp_path / "newer", "1.1-1+deb12u1", program, patches)
    built = verb.build(needs(old, newer), PackageWish(old, newer), "bookworm", tmp_path / "built", silent)
    assert [f.cves for f in built.fixes] == [("CVE-2026-1111",)] and built.grade is ElsGrade.SAFE
    [left] = built.left_out
    assert left.cves == ("CVE-2026-2222",)
    assert [f.reason for f in left.findings] == [
        "the old release does not compile with it: \u2018struct <anonymous>\u2019 has no member named \u2018most\u2019"
    ]


def halved(program: str) -> str:
    return program.replace("{\n    return n / 2;\n}\n", HALF)


def unpacked(built: Path, root: Path) -> Path:
    subprocess.run(["dpkg-deb", "--extract", next(built.glob("x_*.deb")), root], check=True)
    return root
