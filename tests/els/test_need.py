"""What an older release needs, and what is asked for by name."""

from __future__ import annotations

from pathlib import Path

import pytest

from suture.els.need import chosen, fixed, ordered
from suture.error import Refused
from tests.els.made_up import package

A = "int a;\n"


def test_a_fix_is_found_by_its_cve_and_by_its_patch_and_comes_in_the_order_of_the_series(tmp_path: Path) -> None:
    rows = [(f"{n}.patch", f"Description: fix CVE-2026-000{n}", {"a.c": f"int a{n};\n"}) for n in (1, 2, 3)]
    source = package(tmp_path, "2-1", {"a.c": A}, rows)
    assert [n.cves for n in fixed(source)] == [("CVE-2026-0001",), ("CVE-2026-0002",), ("CVE-2026-0003",)]
    asked = chosen(source, ["3.patch", "CVE-2026-0001"])
    assert [n.name for n in ordered(asked, source)] == ["CVE-2026-0001", "CVE-2026-0003"]


def test_a_cve_that_no_patch_says_it_fixes_is_refused_with_what_there_is(tmp_path: Path) -> None:
    source = package(tmp_path, "2-1", {"a.c": A}, [("1.patch", "tidy", {"a.c": "int b;\n"})])
    with pytest.raises(Refused) as refused:
        chosen(source, ["CVE-2026-9999"])
    assert "1.patch" in refused.value.remedy
