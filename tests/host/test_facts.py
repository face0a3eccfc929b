"""What a host is."""

from __future__ import annotations

import os
import re
from pathlib import Path

import pytest

from suture.host.facts import identity, this_host


def test_the_id_is_what_systemd_makes_of_the_machine_id_for_an_application() -> None:
    # by systemd-id128 machine-id --app-specific=6f2d0f0c-6e8e-4d0f-9a4e-0b1f5b0c7d3a
    assert identity("3d1219c7c4c5404aaa1f6d2a48adfda4") == "74053262-129c-4321-ad90-268352de137a"


@pytest.mark.parametrize("text", ["", "uninitialized", "3d12", "x" * 32])
def test_without_a_machine_id_there_is_none(text: str) -> None:
    assert identity(text) == ""


def test_the_facts_of_this_host_are_those_of_uname_and_proc() -> None:
    found = this_host()
    assert (found.name, found.architecture, found.kernel.release) == (os.uname().nodename, "x86_64", os.uname().release)
    assert found.boot_id == Path("/proc/sys/kernel/random/boot_id").read_text().strip()
    assert re.fullmatch(r"([0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12})?", found.id)


def test_what_cannot_be_read_is_empty(tmp_path: Path) -> None:
    found = this_host(tmp_path)
    assert (found.id, found.boot_id, found.kernel.build_id, found.kernel.cves) == ("", "", "", ())
