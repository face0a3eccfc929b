"""rpm packages made of upstream sources that Debian carries: built with a fix, published to a signed dnf repository,
installed by dnf, and live in a process that runs the old library."""

from __future__ import annotations

import json
import shutil
import signal
import subprocess
import sys
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from suture.els.apt_repository import KEYRING
from suture.els.rpm_package import rpm_room
from suture.source.archive import Archive, SourceVersion
from suture.source.update import newest_that_arrives
from tests import minimal
from tests.csaf_validator import is_valid, validated
from tests.els.repository_made import key
from tests.els.served import served
from tests.live import in_chroot

pytestmark = [pytest.mark.archive, pytest.mark.slow]

ENVIRONMENT = {"PATH": minimal.PATH, "HOME": "/root", "LC_ALL": "C.UTF-8"}
CJSON = """Name: cjson
Version: 1.7.15
Release: 1
Summary: JSON
License: MIT
Source0: cjson_1.7.15.orig.tar.gz
AutoReqProv: no

%description
JSON

%prep
%setup -q -n cJSON-1.7.15

%build
make shared static

%check
make test

%install
make install DESTDIR=%{buildroot} PREFIX=/usr

%files
/usr/lib/*
/usr/include/cjson

%changelog
* Thu Jan 01 2026 a <a@a.invalid> - 1.7.15-1
- first
"""
TINYPROXY = """Name: tinyproxy
Version: 1.11.1
Release: 2%{?dist}
Summary: proxy
License: GPL-2.0-or-later
Source0: tinyproxy_1.11.1.orig.tar.xz
AutoReqProv: no

%description
A proxy.

%prep
%autosetup -p1 -n tinyproxy-1.11.1

%build
./configure --prefix=/usr --sysconfdir=/etc --disable-manpage_support
make

%install
make install DESTDIR=%{buildroot}

%files
/usr/bin/tinyproxy
%exclude /usr/share
%exclude /etc

%changelog
* Thu Jan 01 2026 a <a@a.invalid> - 1.11.1-2
- first
"""
# CVE-2023-50471: an item that is NULL is put into a list.
TRIGGER = """
import ctypes
library = ctypes.CDLL("/usr/lib/libcjson.so.1")
library.cJSON_Parse.restype = ctypes.c_void_p
array = ctypes.c_void_p(library.cJSON_Parse(b"[1, 2]"))
print("ready", flush=True)
input()
print(library.cJSON_InsertItemInArray(array, 0, None), flush=True)
input()
"""


def source(name: str) -> SourceVersion:
    archive = Archive("bookworm")
    return newest_that_arrives(name, archive, partial(archive.source, name))


def source_rpm(folder: Path, name: str, spec: str) -> Path:
    """A source rpm of the upstream tarball that Debian has, without Debian's patches."""
    made = folder / f"srpm-{name}"
    (made / "SOURCES").mkdir(parents=True)
    shutil.copy(next(source(name).dsc.parent.glob("*.orig.tar.?z")), made / "SOURCES")
    (made / "SOURCES" / f"{name}.spec").write_text(spec)
    command = f"rpmbuild --nodeps -bs --define '_topdir /build' /build/SOURCES/{name}.spec"
    rpm_room((), Archive("bookworm")).enter(command, outputs=[(made, "/build")])
    return next((made / "SRPMS").glob("*.src.rpm"))


def suture(*words: str, cwd: Path) -> Any:
    found = in_chroot.suture(*words, cwd=cwd)
    assert "error" not in found, found
    return found


def test_two_rpm_packages_are_built_published_installed_by_dnf_and_live(tmp_path: Path) -> None:
    key(tmp_path / "home")
    publish = ["--accept", "--repository", "repository", "--gnupg-home", "home", "--key", "els@test.invalid"]
    fixes = {
        "cjson": ("CVE-2023-50471", source("cjson").tree / "debian/patches/0001-add-null-checkings.patch", CJSON),
        "tinyproxy": (
            "CVE-2023-49606",
            source("tinyproxy").tree / "debian/patches/0002-CVE-2023-49606.patch",
            TINYPROXY,
        ),
    }
    srpms = {name: source_rpm(tmp_path, name, spec) for name, (_, _, spec) in fixes.items()}
    built = {}
    for name, (cve, patch, _) in fixes.items():
        words = ["els", "rpm", str(srpms[name]), "--patch", f"{cve}={patch}", "--output", "built", *publish]
        built[name] = suture(*words, cwd=tmp_path)
    assert (built["cjson"]["made"], built["tinyproxy"]["made"]) == ("1.7.15-1.suture1", "1.11.1-2.suture1")
    assert built["cjson"]["tests"]["outcome"] == "passed"
    for one in built.values():
        assert one["differences"] and all(d["expected"] for d in one["differences"]), one["differences"]

    found = advisories(tmp_path / "repository")
    assert {purl: [v["cve"] for v in one["vulnerabilities"]] for purl, one in found.items()} == {
        "pkg:rpm/cjson@1.7.15-1.suture1?arch=src": ["CVE-2023-50471"],
        "pkg:rpm/tinyproxy@1.11.1-2.suture1?arch=src": ["CVE-2023-49606"],
    }
    plain = {name: suture_free(tmp_path, name, srpms[name]) for name in fixes}
    more = ("python3-minimal", "libpython3-stdlib", "ca-certificates", "openscap-scanner")
    with minimal.system("dnf", "rpm", *more) as root:
        for name, rpm in plain.items():
            shutil.copy(rpm, root / "root" / f"{name}.rpm")
            in_chroot.inside(root, ENVIRONMENT, "rpm", "--install", "--nodeps", "--nosignature", f"/root/{name}.rpm")
        shutil.copy(tmp_path / "repository/oval/suture.xml", root / "root/els.xml")
        minimal.on(root, "/root", "oscap", "oval", "validate", "els.xml")
        assert older_by_scanner(root) == ["true", "true"]
        library = next((root / "usr/lib").glob("libcjson.so.1.7.15"))
        with (
            in_chroot.holding(root, TRIGGER, ENVIRONMENT) as unpatched,
            in_chroot.holding(root, TRIGGER, ENVIRONMENT) as patched,
        ):
            tree = recorded(tmp_path)
            fix = str(fixes["cjson"][1])
            suture(
                "make", "--tree", str(tree), "--binary", str(library), "--fix", fix, "--output", "live", cwd=tmp_path
            )
            [made] = (tmp_path / "live").glob("*.suture.o")
            said = suture("apply", "--accept-partial", str(made), str(patched.pid), cwd=tmp_path)
            assert [g["state"] for p in said["processes"] for g in p["groups"]] == ["applied"]
            assert in_chroot.tell(patched, 1) == ["0"]
            assert in_chroot.tell(unpatched, 1) == [""] and unpatched.wait() == -signal.SIGSEGV
            repository = tmp_path / "repository"
            with served(repository) as address:
                text = (repository / KEYRING).read_text()
                assert "BEGIN PGP" in text
                repo = f"[suture]\nname=suture\nbaseurl={address}/suture\nenabled=1\ngpgcheck=1\nrepo_gpgcheck=1\n"
                (root / "etc/yum.repos.d").mkdir(parents=True, exist_ok=True)
                (root / "etc/yum.repos.d/suture.repo").write_text(f"{repo}gpgkey={address}/{KEYRING}\nproxy=_none_\n")
                dnf = ["dnf", "--assumeyes", "--releasever=1"]
                said = in_chroot.inside(root, ENVIRONMENT, *dnf, "updateinfo", "list", "--security", "--available")
                in_chroot.inside(root, ENVIRONMENT, *dnf, "upgrade", "cjson", "tinyproxy")
            assert in_chroot.inside(root, ENVIRONMENT, "rpm", "--query", "cjson", "tinyproxy").split() == [
                "cjson-1.7.15-1.suture1.x86_64",
                "tinyproxy-1.11.1-2.suture1.x86_64",
            ]
            assert "SUTURE-ELS-cjson-1.7.15-1.suture1" in said
            assert older_by_scanner(root) == ["false", "false"]
            assert patched.poll() is None


AS_BEFORE = "make test\necho '# PASS:  1'\necho '# FAIL:  1'\necho 'FAIL: network'\nexit 1"
WORSE = (
    "grep --quiet 'newitem == NULL' cJSON.c && { echo 'FAIL: guard'; echo '# FAIL:  1'; exit 1; }\necho '# PASS:  1'"
)


def test_what_a_check_says_without_the_patch_is_compared_and_not_demanded(tmp_path: Path) -> None:
    patch = source("cjson").tree / "debian/patches/0001-add-null-checkings.patch"

    def built(folder: Path, check: str) -> Any:
        folder.mkdir()
        srpm = source_rpm(folder, "cjson", CJSON.replace("%check\nmake test", f"%check\n{check}"))
        return in_chroot.suture("els", "rpm", str(srpm), "--patch", f"CVE-2023-50471={patch}", cwd=folder)

    found = built(tmp_path / "before", AS_BEFORE)
    assert (found["tests"]["outcome"], found["tests"]["failing"]) == ("as before", ["network"])
    refused = built(tmp_path / "worse", WORSE)
    assert refused["reason"].startswith("refused") and "failing now: guard" in refused["error"]
    assert not list(tmp_path.glob("worse/built/cjson/*/build.json"))


def older_by_scanner(root: Path) -> list[str]:
    """What `oscap` says of each definition: whether a package is older than the published one."""
    said, _ = minimal.on(root, "/root", "oscap", "oval", "eval", "els.xml")
    return [row.rpartition(" ")[2] for row in said.splitlines() if "oval:suture.els:def" in row]


def advisories(folder: Path) -> dict[str, Any]:
    """The CSAF documents of a repository by their purl, each of which keeps to the standard's schema."""
    found = {}
    for path in (folder / "csaf").iterdir():
        said = validated(path)
        assert is_valid(said), said
        document = json.loads(path.read_text())
        product = document["product_tree"]["branches"][0]["branches"][0]["branches"][1]["product"]
        found[product["product_identification_helper"]["purl"]] = document
    return found


def suture_free(folder: Path, name: str, srpm: Path) -> Path:
    """The binary rpm without the fix, as hosts have it."""
    made = folder / f"plain-{name}"
    made.mkdir()
    shutil.copy(srpm, made)
    command = (
        f"rpmbuild --nodeps --rebuild --define '_topdir /build' --define 'debug_package %{{nil}}' /build/{srpm.name}"
    )
    rpm_room((), Archive("bookworm")).enter(command, outputs=[(made, "/build")], loopback=True)
    return next((made / "RPMS").glob("*/*.rpm"))


def recorded(folder: Path) -> Path:
    """The sources, built once more as the spec has it, and recorded."""
    tarball = next((folder / "srpm-cjson/SOURCES").glob("*.orig.tar.gz"))
    subprocess.run(["tar", "--extract", f"--file={tarball}"], cwd=folder, check=True)
    tree = folder / "cJSON-1.7.15"
    words = [sys.executable, "-m", "suture.cli", "record", "--tree", str(tree), "--", "make", "shared", "static"]
    subprocess.run(words, cwd=tree, check=True, capture_output=True)
    return tree
