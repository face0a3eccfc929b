"""What packages of a dnf repository close."""

from __future__ import annotations

from xml.etree import ElementTree

from suture.els.updateinfo import RpmFile, RpmUpdate, updateinfo


def test_each_package_stands_with_its_cves() -> None:
    file = RpmFile("libx", "0", "1.0", "3.suture1", "x86_64", "libx-1.0-3.suture1.x86_64.rpm")
    one = RpmUpdate("x", "1.0-3.suture1", "2026-11-28T05:00:00Z", ("CVE-2026-1111",), (file,))
    root = ElementTree.fromstring(updateinfo([one], "el-suture").encode())
    [package] = root.iterfind("update/pkglist/collection/package")
    assert (package.get("name"), package.get("release")) == ("libx", "3.suture1")
    assert package.findtext("filename") == file.file
    assert [r.get("id") for r in root.iterfind("update/references/reference")] == ["CVE-2026-1111"]
    assert root.find("update").get("type") == "security"  # type: ignore[union-attr]
