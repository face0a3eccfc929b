"""What packages close, as OVAL; `oscap` reads it in a chroot of Debian 12 (slow)."""

from __future__ import annotations

import os
from dataclasses import replace
from pathlib import Path
from xml.etree import ElementTree

import pytest

from suture.compile import room
from suture.compile.room import Rights
from suture.els.oval_definitions import binaries, of_debian, of_rpm, oval
from suture.els.updateinfo import RpmFile, RpmUpdate
from suture.report.document import ElsBuildReport
from suture.report.els import BuiltFile
from suture.source.archive import Archive
from tests.els.made_up import report

TIME = "2026-11-28T05:00:00Z"
NAMES = {"o": "http://oval.mitre.org/XMLSchema/oval-definitions-5"}
NAMES["l"] = f"{NAMES['o']}#linux"


def built(folder: Path, *files: str) -> ElsBuildReport:
    return replace(report(folder), files=tuple(BuiltFile(f, 1, "0") for f in files))


def test_each_binary_package_is_compared_with_the_version_that_is_published(tmp_path: Path) -> None:
    one = built(tmp_path, "libx1_1_amd64.deb", "libx1-dbgsym_1_amd64.deb", "x_1.dsc", "x-data_1_all.deb")
    assert binaries(one) == ("libx1", "x-data")
    root = ElementTree.fromstring(oval([of_debian(one)], "0", TIME).encode())
    assert [e.text for e in root.iterfind(".//l:dpkginfo_object/l:name", NAMES)] == ["libx1", "x-data"]
    assert [e.text for e in root.iterfind(".//l:evr", NAMES)] == [f"0:{one.made}"]
    assert [e.get("ref_id") for e in root.iterfind(".//o:reference", NAMES)] == ["CVE-2026-1111"]
    tests = {e.get("id") for e in root.iterfind(".//l:dpkginfo_test", NAMES)}
    assert {e.get("test_ref") for e in root.iterfind(".//o:criterion", NAMES)} == tests and len(tests) == 2


def update(name: str, version: str, release: str) -> RpmUpdate:
    files = (RpmFile(name, "1", version, release, "x86_64", f"{name}.rpm"),)
    return RpmUpdate(name, f"{version}-{release}", TIME, ("CVE-2026-1111",), files)


def test_rpms_are_compared_with_epoch_version_and_release() -> None:
    fixed = of_rpm(update("x", "1.0", "1.suture1"), "hosts of r")
    root = ElementTree.fromstring(oval([fixed], "0", TIME).encode())
    assert [(e.text, e.get("datatype")) for e in root.iterfind(".//l:rpminfo_state/l:evr", NAMES)] == [
        ("1:1.0-1.suture1", "evr_string")
    ]
    assert fixed.identity == "SUTURE-ELS-x-1.0-1.suture1"
    assert [e.text for e in root.iterfind(".//l:rpminfo_object/l:name", NAMES)] == ["x"]


@pytest.mark.slow
@pytest.mark.archive
@pytest.mark.skipif(os.geteuid() != 0, reason="only root makes chroots")
def test_a_scanner_tells_an_older_package_from_the_published_one(tmp_path: Path) -> None:
    """Every Debian has bash, in a version below the first of these and above the second."""
    old = replace(built(tmp_path / "a", "bash_9_amd64.deb"), package="bash", made="9-1+suture1")
    new = replace(built(tmp_path / "b", "bash_1_amd64.deb"), package="bash", made="1-1+suture1")
    (tmp_path / "els.xml").write_text(oval([of_debian(old), of_debian(new)], "0", TIME))
    archive = Archive("bookworm")  # Debian 11 has no oscap
    scanner = room.with_packages(room.base(archive), ("openscap-scanner",), archive)
    script = "oscap oval validate /els.xml && oscap oval eval /els.xml"
    said = scanner.enter(script, binds=[(tmp_path / "els.xml", "/els.xml")], rights=Rights.INSTALL)
    results = [row.rpartition(" ")[2] for row in said.splitlines() if "oval:suture.els:def" in row]
    assert sorted(results) == ["false", "true"], said
