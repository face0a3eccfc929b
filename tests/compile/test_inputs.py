"""Which files of many generators make nothing different of: asked of many at a time, and of few where it matters."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from suture.compile.generate import Generated
from suture.compile.inputs import Inputs
from suture.error import Refused
from suture.source.fix import Fix, parse

TREE: Any = None


class Generators:
    """Make something different of `guilty` files."""

    def __init__(self, *guilty: str) -> None:
        self.guilty = guilty
        self.asked: list[list[str]] = []

    def __call__(self, tree: Any, fix: Fix) -> Generated:
        paths = [f.path for f in fix.files]
        self.asked.append(paths)
        return Generated(Path("/layer"), (), (), (), tuple(p for p in paths if p in self.guilty))


def fix(*paths: str) -> Fix:
    return parse("".join(f"--- a/{p}\n+++ b/{p}\n@@ -1 +1 @@\n-a\n+b\n" for p in paths), " ".join(paths))


NAMES = (*(f"{n:02}.S" for n in range(62)), "Makefile", "lib/Makefile")


def test_one_question_answers_for_all_when_nothing_comes_out_differently() -> None:
    ask = Generators()
    inputs = Inputs(ask)
    assert not inputs.exactly(TREE, fix(*NAMES)).differs  # type: ignore[union-attr]
    for name in NAMES:
        found = inputs(TREE, fix(name))
        assert found is not None and not found.differs
    assert len(ask.asked) == 1


def test_two_files_that_matter_among_many_are_found_with_few_questions() -> None:
    ask = Generators("lib/Makefile", "17.S")
    inputs = Inputs(ask)
    inputs.exactly(TREE, fix(*NAMES))
    told = {name: inputs(TREE, fix(name)) for name in NAMES}
    assert {name for name, found in told.items() if found is None or found.differs} == {"lib/Makefile", "17.S"}
    assert len(ask.asked) < 25


def test_a_file_that_matters_is_asked_about_as_it_is_with_the_others_of_its_fix() -> None:
    ask = Generators("Makefile")
    inputs = Inputs(ask)
    inputs.exactly(TREE, fix(*NAMES))
    found = inputs(TREE, fix("03.S", "Makefile"))
    assert found is not None and found.commands == ("Makefile",) and ask.asked[-1] == ["03.S", "Makefile"]


def test_what_becomes_a_patch_is_never_answered_from_others() -> None:
    ask = Generators()
    inputs = Inputs(ask)
    inputs.exactly(TREE, fix(*NAMES))
    inputs.exactly(TREE, fix(*NAMES[:5]))
    assert ask.asked == [list(NAMES), list(NAMES[:5])]


def test_parts_that_do_not_go_together_say_nothing_of_each_other() -> None:
    """Hunks of one fix may need another's: half of the files need not apply."""

    class Unfit(Generators):
        def __call__(self, tree: Any, fix: Fix) -> Generated:
            super().__call__(tree, fix)
            if len(fix.files) > 1:
                raise Refused("does not apply", "-")
            return Generated(Path("/layer"), (), (), (), ())

    inputs = Inputs(Unfit())
    with pytest.raises(Refused):
        inputs.exactly(TREE, fix("a", "b", "c"))
    found = inputs(TREE, fix("a"))
    assert found is not None and not found.differs
