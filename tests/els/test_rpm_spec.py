"""Spec files with more patches. That rpmbuild takes them is tests/live/test_els_rpm.py's."""

from __future__ import annotations

import pytest

from suture.els.rpm_spec import patched_spec
from suture.error import Unsupported

SPEC = """Name: x
Version: 1.0
Release: 3%{?dist}
Source0: x-1.0.tar.gz
Patch0: own.patch

%prep
%setup -q
%patch -P 0 -p1

%build
make
%changelog
* Thu Jan 01 2026 a <a@a> - 1.0-3
- first
"""
ENTRY = "* Sat Nov 28 2026 b <b@b> - 1.0-3.suture1\n- CVE-2026-1111"


def test_patches_get_a_tag_and_a_command_after_those_of_the_spec() -> None:
    rows = patched_spec(SPEC, ["one.patch", "two.patch"], ENTRY).split("\n")
    assert rows[rows.index("Patch0: own.patch") + 1 :][:2] == ["Patch1: one.patch", "Patch2: two.patch"]
    assert rows[rows.index("%patch -P 0 -p1") + 1 :][:2] == ["%patch -P 1 -p1", "%patch -P 2 -p1"]
    assert rows[rows.index("%changelog") + 1] == "* Sat Nov 28 2026 b <b@b> - 1.0-3.suture1"
    assert "Release: 3%{?dist}.suture1" in rows and "- first" in rows


def test_the_release_of_one_that_was_patched_before_goes_up() -> None:
    once = patched_spec(SPEC, ["one.patch"], ENTRY)
    assert "Release: 3%{?dist}.suture2" in patched_spec(once, ["two.patch"], ENTRY)


def test_autosetup_applies_what_has_a_tag() -> None:
    spec = SPEC.replace("%setup -q\n%patch -P 0 -p1", "%autosetup -p1")
    assert "%patch" not in patched_spec(spec, ["one.patch"], ENTRY)
    with pytest.raises(Unsupported, match="strips"):
        patched_spec(spec.replace(" -p1", ""), ["one.patch"], ENTRY)


def test_a_spec_that_unpacks_otherwise_is_refused() -> None:
    with pytest.raises(Unsupported, match="unpacks"):
        patched_spec(SPEC.replace("%setup -q\n%patch -P 0 -p1", "tar xf %{S:0}"), ["one.patch"], ENTRY)
