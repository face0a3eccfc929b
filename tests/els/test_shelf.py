"""Built packages on disk, and a person's word for one."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from suture.els.shelf import FACTS, BuiltShelf
from suture.error import BadOption, NotFound
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
