"""What is said of functions that never return, and what to do about threads in them."""

from __future__ import annotations

import pytest

from suture.patch.main_loop import endless_note, endless_notes, remedy_for
from suture.refusal import RESTART

BOTH, ONLY = endless_note("serve", False), endless_note("serve", False, False)
BEFORE = (
    "serve never returns (a main loop): a thread in it stays in it, and old code cannot go on there beside the new "
    "code, so --relaxed is no way out: restart the program"
)  # in the verdict of a patch that is older than these words


def test_a_note_names_the_function_and_what_helps() -> None:
    assert "--relaxed REASON" in BOTH and BOTH.endswith(f"or {RESTART}")
    assert "--relaxed REASON" not in ONLY and ONLY.endswith(RESTART)
    relaxed = endless_note("serve", True)
    assert "until the program ends" in relaxed and RESTART not in relaxed
    assert all(note.startswith("serve never returns") for note in (BOTH, ONLY, relaxed))


def test_of_all_notes_those_about_main_loops_are_told() -> None:
    assert endless_notes(["a.c: matched one by one", ONLY, "x"]) == [ONLY]


@pytest.mark.parametrize("note", [ONLY, BEFORE])
def test_a_relaxed_patch_is_not_suggested_where_it_would_be_refused(note: str) -> None:
    assert "--relaxed REASON" not in remedy_for(["other", "serve"], ["x", note])
    assert RESTART in remedy_for(["serve"], [note])


@pytest.mark.parametrize("notes", [[], [BOTH], [endless_note("server", False, False)], [f"un{ONLY}"]])
def test_else_it_is_one_of_two_ways(notes: list[str]) -> None:
    assert "--relaxed REASON" in remedy_for(["serve"], notes) and RESTART in remedy_for(["serve"], notes)
