"""The holes of a host from its scan and its agent's word."""

from __future__ import annotations

import pytest

from suture.export.picture import HolePlace, Picture, in_words
from suture.report.hole import HoleState
from suture.report.standing import Disk, Memory
from tests.export.conftest import FIXED, OPEN, agent_of, hole, kernel_of, offer, scan_of


def test_a_hole_has_its_worst_state_all_counts_and_what_runs_by_its_own_version(every: Picture) -> None:
    first = every.holes[0]
    assert (first.cve, first.state) == ("CVE-2099-0001", HoleState.OPEN)
    assert first.processes == {HoleState.OPEN: 1, HoleState.FIXED_IN_MEMORY: 1}
    # the patch's version, and not the one that is installed by now
    assert {(p.version, p.state, p.processes) for p in first.places} == {
        ("1:3.0.17-1~deb12u2+x", HoleState.OPEN, 1),
        ("1:3.0.17-1~deb12u2+x", HoleState.FIXED_IN_MEMORY, 1),
    }


def test_a_patch_that_waits_leaves_its_holes_open(every: Picture) -> None:
    last = every.holes[-1]
    assert (last.cve, last.state, last.patches) == ("CVE-2099-0009", HoleState.OPEN, ("id9",))
    assert last.processes == {HoleState.OPEN: 4}


def test_a_patch_that_waits_for_another_binary_opens_a_hole_that_seemed_closed() -> None:
    (found,) = Picture(scan_of(FIXED), agent_of(offer(9, "cc", "CVE-2099-0001"))).holes
    assert found.state is HoleState.OPEN
    assert Picture(scan_of(FIXED), None).holes[0].state is HoleState.FIXED_IN_MEMORY


def test_a_patch_that_waits_and_was_compared_with_counts_once() -> None:
    (found,) = Picture(scan_of(OPEN), agent_of(offer(1, "cc", "CVE-2099-0001"))).holes
    assert found.processes == {HoleState.OPEN: 1}


def test_a_patch_that_waits_for_a_hole_that_is_declared_mitigated_leaves_it_so() -> None:
    (found,) = Picture(scan_of(), agent_of(offer(10, "cc", "CVE-2099-0010"))).holes
    assert found.state is HoleState.MITIGATED


def test_the_kernel_is_a_place_too() -> None:
    (found,) = Picture(scan_of(kernel=kernel_of(Memory.OPEN, Disk.OPEN, hole(1, HoleState.OPEN))), None).holes
    assert found.places[0].purl == "pkg:deb/debian/linux@6.1.176-1?arch=amd64"


@pytest.mark.parametrize(
    ("package", "version", "purl"),
    [
        ("libssl3", "1:3.0~deb12u2+x", "pkg:deb/debian/libssl3@1%3A3.0~deb12u2%2Bx?arch=amd64"),
        ("libssl3", "", ""),
        ("", "1", ""),
    ],
)
def test_a_package_url_is_written_by_its_rules(package: str, version: str, purl: str) -> None:
    assert HolePlace("x", "aa", package, version, HoleState.OPEN, 1).purl == purl


def test_counts_in_words() -> None:
    assert (
        in_words({HoleState.OPEN: 2, HoleState.FIXED_IN_MEMORY: 1})
        == "open in 2 processes, fixed in memory in 1 process"
    )
