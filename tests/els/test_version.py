"""Versions as dpkg itself sorts them."""

from __future__ import annotations

import subprocess
from itertools import pairwise

import pytest

from suture.els.version import check, successor
from suture.error import Refused


def is_below(a: str, b: str) -> bool:
    return subprocess.run(["dpkg", "--compare-versions", a, "lt", b], check=False).returncode == 0


@pytest.mark.parametrize(
    ("base", "next_official"),
    [
        ("1.1.34-4+deb11u1", "1.1.34-4+deb11u2"),
        ("2.10.4+dfsg-1", "2.10.4+dfsg-1+deb11u1"),
        ("1:8.4p1-5~deb11u1", "1:8.4p1-5~deb11u2"),
        ("1.2", "1.2+deb11u1"),
        ("1.2-3+deb11u9", "1.2-3+deb11u10"),
        ("1.2-3", "1.2-3.1"),
    ],
)
def test_a_version_sorts_above_its_base_and_its_rebuilds_and_below_the_next_official_one(
    base: str, next_official: str
) -> None:
    made = successor(base, "bullseye")
    order = [base, f"{base}+b1", made, successor(made, "bullseye"), next_official]
    assert all(is_below(a, b) for a, b in pairwise(order)), order


def test_a_newer_release_that_sorts_below_is_refused() -> None:
    check("1.0-1+deb11u1+suture1", "1.0-1+deb11u1", "1.0-1+deb12u1")
    with pytest.raises(Refused, match="does not sort between"):
        check("1.0-2+deb11u0+suture1", "1.0-2", "1.0-1+deb12u1")
