"""A short run of what `tests/fuzz/run` does at length, and every input that once found a fault."""

from __future__ import annotations

import random

import pytest

from tests.fuzz.mutation import mutated
from tests.fuzz.seed import found, seeds
from tests.fuzz.target import TARGETS, try_one

INPUTS = 2000


@pytest.mark.parametrize("name", TARGETS)
def test_what_is_honest_is_accepted(name: str) -> None:
    honest = len(seeds(name)) - len(found(name))
    assert all(try_one(name, data) for data in seeds(name)[:honest])


@pytest.mark.parametrize("name", TARGETS)
def test_what_once_found_a_fault_finds_none(name: str) -> None:
    for data in found(name):
        try_one(name, data)


@pytest.mark.parametrize("name", TARGETS)
def test_changed_inputs_are_refused_or_mean_something(name: str) -> None:
    rng, base = random.Random(12), seeds(name)
    outcomes = set()
    for _ in range(INPUTS):
        data = mutated(name, rng.choice(base), rng)
        try:
            outcomes.add(try_one(name, data))
        except BaseException:
            print(name, data[:4096].hex())
            raise
    assert outcomes == {True, False}
