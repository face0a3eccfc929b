"""A person's patch for the older release."""

from __future__ import annotations

import pytest

from suture.els.by_hand import by_hand
from suture.els.grade import doubts
from suture.els.patching import difference
from suture.error import Refused
from suture.report.els import CarriedBy

OLD = "int f(int n)\n{\n    return n;\n}\n"
NEW = OLD.replace("return n;", "return n < 0 ? 0 : n;")


def test_a_patch_of_a_person_goes_in_as_it_is_and_is_never_safe_by_itself() -> None:
    text = difference("src/a.c", OLD, NEW) + difference("src/b.c", "", "int b;\n", creates=True)
    found = by_hand(text, "mine.patch", {"src/a.c": OLD}.get)
    assert [(c.path, c.before, c.after, c.way) for c in found.carried] == [
        ("src/a.c", OLD, NEW, CarriedBy.HAND),
        ("src/b.c", None, "int b;\n", CarriedBy.HAND),
    ]
    assert found.is_whole and len(doubts(found)) == 2


def test_a_patch_that_does_not_fit_to_the_letter_is_refused() -> None:
    with pytest.raises(Refused, match="does not apply"):
        by_hand(difference("src/a.c", OLD, NEW), "mine.patch", {"src/a.c": OLD.replace("return n", "return  n")}.get)
    with pytest.raises(Refused, match="outside"):
        by_hand(difference("../a.c", OLD, NEW), "mine.patch", {"../a.c": OLD}.get)
