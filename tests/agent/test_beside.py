"""Which offers are parts of one fix."""

from __future__ import annotations

from dataclasses import replace

from suture.agent.beside import beside
from suture.report.patch import PatchKind
from tests.agent.test_decision import OFFER


def test_parts_of_one_fix_of_one_version_belong_together_by_whatever_steps() -> None:
    one = replace(OFFER, patch="1", build_id="a", fixes=("x.patch",))
    two = replace(OFFER, patch="2", build_id="b", fixes=("x.patch", "y.patch"))
    three = replace(OFFER, patch="3", build_id="c", fixes=("y.patch",))
    apart = replace(OFFER, patch="4", build_id="d", fixes=("z.patch",))
    newer = replace(OFFER, patch="5", build_id="e", fixes=("x.patch",), version="2")
    same = replace(OFFER, patch="6", build_id="a", fixes=("x.patch",))
    kernel = replace(OFFER, patch="7", build_id="f", fixes=("x.patch",), kind=PatchKind.KERNEL)
    others = [one, two, three, apart, newer, kernel]
    assert {o.patch for o in beside(one, others)} == {"2", "3"}
    assert {o.patch for o in beside(three, others)} == {"1", "2"}
    assert beside(apart, others) == [] == beside(kernel, others)
    assert same not in beside(one, [same])
