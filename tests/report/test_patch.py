"""Who is still in old code, in words."""

from __future__ import annotations

from suture.report.patch import OldFrames


def test_threads_and_coroutines_are_counted_and_named() -> None:
    def told(threads: int, coroutines: int, *endless: str) -> str:
        return OldFrames(threads, coroutines, ("f", "g"), endless).text

    assert told(1, 0) == "1 thread still in old code of f, g"
    assert told(2, 0) == "2 threads still in old code of f, g"
    assert told(0, 1) == "1 coroutine still in old code of f, g"
    assert told(2, 3) == "2 threads and 3 coroutines still in old code of f, g"
    assert told(1, 0, "main_loop") == "1 thread still in old code of f, g (main_loop never returns)"


def test_nobody_is_no_text_and_what_cannot_be_told_says_why() -> None:
    assert OldFrames(0, 0, (), ()).text == ""
    assert (
        OldFrames(0, 0, (), (), "no unwind tables").text == "who is still in old code cannot be told: no unwind tables"
    )
