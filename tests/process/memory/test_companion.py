"""Which patches in force belong together, told by records that name one another."""

from __future__ import annotations

from dataclasses import replace

from suture.process.memory.companion import companions
from tests.patch.test_record import RECORD

A, B, C = (digit * 16 for digit in "abc")


def test_a_record_that_names_another_binds_both_while_both_are_in_force() -> None:
    first = replace(RECORD, id=A)
    second = replace(RECORD, id=B, companions=(A,))
    third = replace(RECORD, id=C, companions=(B, "d" * 16))
    alone = replace(RECORD, id="e" * 16)
    all_of_them = [first, second, third, alone]
    assert companions(A, all_of_them) == (B, C)
    assert companions(C, all_of_them) == (A, B)
    assert companions(A, [first, third, alone]) == ()
    assert companions(B, [second, alone]) == ()
    assert companions(B, [first, third]) == (), "it is not in force itself"
