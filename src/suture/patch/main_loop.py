"""What is said of functions that never return: in the verdict of a patch, and when a thread stays in one."""

from __future__ import annotations

from collections.abc import Iterable

_MAIN_LOOP = "never returns (a main loop): "
_REMEDY = (
    "a thread in it stays in it: make the patch with --relaxed REASON if old code may go on there, or restart the "
    "program"
)
_ONLY_RESTART = (
    "a thread in it stays in it, and old code cannot go on there beside the new code, so --relaxed is no way out: "
    "restart the program"
)


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
    only_restart = {endless_note(n, False, False) for n in names} & set(notes)
    return _ONLY_RESTART if only_restart else _REMEDY
