"""Makings from one tree share what they know of its binaries."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

from suture.compile.preparation import anew
from suture.compile.unit import Binary
from suture.make.earlier import EarlierMakings
from suture.make.ground import Shipped

TREE: Any = None


def test_a_binary_has_one_ground_and_another_has_its_own() -> None:
    one, two = (Shipped(Binary("p", f"lib/{n}.so", frozenset()), Path(n), "1") for n in "ab")
    earlier = EarlierMakings()
    first = earlier.ground(TREE, one, tuple)
    assert earlier.ground(TREE, one, tuple) is first and earlier.ground(TREE, two, tuple) is not first
    assert first.item is one


def test_makings_that_ask_the_generators_in_another_way_know_the_same() -> None:
    item = Shipped(Binary("p", "lib/a.so", frozenset()), Path("a"), "1")
    earlier = EarlierMakings()
    other = replace(earlier, generators=lambda tree, fix: None)
    assert earlier.generators is anew and other.ground(TREE, item, tuple) is earlier.ground(TREE, item, tuple)
