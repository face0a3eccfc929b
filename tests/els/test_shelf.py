"""Built packages on disk, and a person's word for one."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from suture.els.shelf import FACTS, BuiltShelf
from suture.error import BadOption, NotFound
from suture.report.document import BackportReport
from suture.report.els import BackportedFix, FixState
from tests.els.made_up import report


def test_a_build_is_read_back_and_one_half_made_is_passed_over(tmp_path: Path) -> None:
    shelf = BuiltShelf(tmp_path)
    kept = report(tmp_path)
    shelf.keep(kept)
    half = shelf.place("y", "1")
    half.mkdir(parents=True)
    (half / FACTS).write_text('{"format": 1')
    assert list(shelf.builds()) == [kept] and list(shelf.builds("y")) == []


def test_a_word_is_kept_with_who_gave_it_and_is_for_one_version(tmp_path: Path) -> None:
    shelf = BuiltShelf(tmp_path)
    kept = report(tmp_path)
    shelf.keep(kept)
    assert not shelf.is_accepted(kept)
    place = shelf.accept(f"x={kept.made}", "ann")
    assert shelf.is_accepted(kept) and json.loads((place / "accepted.json").read_text())["who"] == "ann"
    with pytest.raises(NotFound):
        shelf.accept("x=9", "ann")
    with pytest.raises(BadOption):
        shelf.accept("x", "ann")


def test_carrying_one_fix_leaves_what_is_known_of_the_others(tmp_path: Path) -> None:
    shelf = BuiltShelf(tmp_path)

    def row(number: int, state: FixState) -> BackportedFix:
        return BackportedFix((f"CVE-2026-{number}",), (f"{number}.patch",), state, "", (), (), ())

    def carried(newer: str, *rows: BackportedFix) -> BackportReport:
        return BackportReport("2026-11-28T05:00:00Z", 0, "x", "1.0-1+deb11u1", newer, rows)

    shelf.keep_carried(carried("1.1-1+deb12u1", row(1111, FixState.WHOLE), row(2222, FixState.HANDED_OVER)))
    shelf.keep_carried(carried("1.1-1+deb12u1", row(1111, FixState.THERE)))
    [found] = shelf.carried("x")
    assert found.fixes == (row(1111, FixState.THERE), row(2222, FixState.HANDED_OVER))
    shelf.keep_carried(carried("1.1-1+deb12u2", row(1111, FixState.WHOLE)))
    [found] = shelf.carried("x")
    assert found.fixes == (row(1111, FixState.WHOLE),)  # of another version nothing is known
