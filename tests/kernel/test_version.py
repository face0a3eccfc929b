"""Which kernel runs in effect."""

from __future__ import annotations

import os
from dataclasses import replace

from suture.kernel.version import effective, running_version
from tests.kernel.conftest import loaded

_UNAME = os.uname_result(("Linux", "host", "6.1.0-50-amd64", "#1 SMP Debian 6.1.176-1 (2026-07-02)", "x86_64"))


def test_the_running_version_is_that_of_the_package() -> None:
    assert running_version(_UNAME.version) == "6.1.176-1"
    assert effective((), _UNAME).line() == "Linux 6.1.0-50-amd64 6.1.176-1"


def test_fixes_and_cves_of_patches_in_force_are_listed() -> None:
    found = effective((loaded("suture_a"), loaded("suture_b", enabled=False)), _UNAME)
    assert found.fixes == ("x.patch",) and found.cves == ("CVE-2026-1",)
    assert found.line().endswith("6.1.176-1+1 fixes")


def test_a_patch_with_all_of_a_version_makes_it_that_version() -> None:
    whole = loaded("suture_all")
    whole = replace(whole, record={**whole.record, "effective": "6.1.192-2"})
    assert effective((whole,), _UNAME).line() == "Linux 6.1.0-50-amd64 6.1.192-2"
