"""Three texts become one: by lines, and where lines are in conflict by tokens."""

from __future__ import annotations

from suture.els.merge import merged

BASE = "int f(int n)\n{\n    if (n > 3)\n        return g(n);\n    return 0;\n}\n"


def test_a_change_of_other_lines_is_made() -> None:
    ours = BASE.replace("return 0", "return -1")
    done = merged(BASE, ours, BASE.replace("n > 3", "n > 4"))
    assert not done.conflicts and not done.by_tokens
    assert done.text == ours.replace("n > 3", "n > 4")


def test_a_change_of_other_tokens_in_the_same_line_is_made_and_said() -> None:
    ours = BASE.replace("if (n > 3)", "if (count > 3)")
    done = merged(BASE, ours, BASE.replace("n > 3)", "n > 3 || h())"))
    assert not done.conflicts and done.by_tokens
    assert "if (count > 3 || h())" in done.text


def test_the_same_token_changed_in_two_ways_is_a_conflict_and_the_old_release_stays() -> None:
    ours = BASE.replace("n > 3", "n > 5")
    done = merged(BASE, ours, BASE.replace("n > 3", "n > 4"))
    assert [("n > 5" in c.ours, "n > 4" in c.theirs) for c in done.conflicts] == [(True, True)]
    assert done.text == ours


def test_what_was_written_anew_is_a_conflict_without_a_long_comparison() -> None:
    many = "".join(f"    a{n} = b{n};\n" for n in range(2000))
    done = merged(BASE, BASE.replace("    return 0;\n", many), BASE.replace("return 0", "return 1"))
    assert len(done.conflicts) == 1
