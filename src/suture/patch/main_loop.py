"""What is said of functions that never return: in the verdict of a patch, and when a thread stays in one."""

from __future__ import annotations

from collections.abc import Iterable

from suture.refusal import RESTART

_MAIN_LOOP = "never returns (a main loop): "
_STAYS = "a thread in it stays in it"
_REMEDY = f"{_STAYS}: make the patch with --relaxed REASON if old code may go on there, or {RESTART}"
_NO_WAY = f"{_STAYS}, and old code cannot go on there beside the new code"
_ONLY_RESTART = f"{_NO_WAY}, so --relaxed is no way out: {RESTART}"


def endless_note(name: str, relaxed: bool, may_be_relaxed: bool = True) -> str:
    """What the verdict says about one. `may_be_relaxed`: a relaxed patch of it would not be refused."""
    if relaxed:
        return f"{name} {_MAIN_LOOP}a thread that is in it stays in old code until the program ends"
    return f"{name} {_MAIN_LOOP}{_REMEDY if may_be_relaxed else _ONLY_RESTART}"


def endless_notes(notes: Iterable[str]) -> list[str]:
    """Those of a verdict that are about such functions."""
    return [note for note in notes if _MAIN_LOOP in note]


def remedy_for(names: Iterable[str], notes: Iterable[str]) -> str:
    """What to do about threads that stay in the functions `names`, by the notes of the patch's verdict."""
    told = list(notes)
    only_restart = any(note.startswith(f"{name} {_MAIN_LOOP}{_NO_WAY}") for name in names for note in told)
    return _ONLY_RESTART if only_restart else _REMEDY
