"""Source packages made up for a test, unpacked as dpkg-source leaves them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from suture.els.patching import difference
from suture.report.document import ElsBuildReport
from suture.report.els import BuiltFix, ElsGrade, PackageTests, TestsOutcome
from suture.source.archive import SourceVersion


def package(
    root: Path,
    version: str,
    files: Mapping[str, str],
    patches: Sequence[tuple[str, str, Mapping[str, str]]] = (),
    changelog: str = "",
) -> SourceVersion:
    """A version with `files` and then its patches: each a name, what it says of itself, and the texts that it makes."""
    tree = root / version / "tree"
    texts = dict(files)
    listed = tree / "debian/patches"
    listed.mkdir(parents=True)
    for name, said, made in patches:
        body = ""
        for path, text in made.items():
            kept = tree / ".pc" / name / path
            kept.parent.mkdir(parents=True, exist_ok=True)
            kept.write_text(texts.get(path, ""))
            body += difference(path, texts.get(path, ""), text, creates=path not in texts)
            texts[path] = text
        (listed / name).write_text(f"{said}\n---\n{body}")
    (listed / "series").write_text("".join(f"{name}\n" for name, _, _ in patches))
    (tree / "debian/changelog").write_text(f"x ({version}) unstable; urgency=low\n\n  * {changelog}\n")
    for path, text in texts.items():
        (tree / path).parent.mkdir(parents=True, exist_ok=True)
        (tree / path).write_text(text)
    return SourceVersion("x", version, "bookworm", root / version / "x.dsc", tree)


def report(shelf: Path, grade: ElsGrade = ElsGrade.SAFE, package: str = "x") -> ElsBuildReport:
    """What came of building a package that lies in a shelf; its folder is made."""
    made = "1.0-1+deb11u1+suture1"
    folder = shelf / package / made
    folder.mkdir(parents=True)
    doubts = ("f changes, which the fixes do not name",) if grade is ElsGrade.REVIEW else ()
    fix = BuiltFix(("CVE-2026-1111",), "suture-CVE-2026-1111.patch", "x 1.1", ("a.c by patch",), ElsGrade.SAFE, ())
    tests = PackageTests(TestsOutcome.PASSED, {"PASS": 2}, {"PASS": 2}, "PASS 2")
    versions = ("1.0-1+deb11u1", "bookworm", "1.1-1+deb12u1", made)
    head = ("2026-11-28T05:00:00Z", 0, package, "bullseye", *versions)
    return ElsBuildReport(*head, grade, doubts, (fix,), (), tests, (), (), True, (), str(folder), (), {"build": 1.0})
