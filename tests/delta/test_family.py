from __future__ import annotations

from suture.delta.family import joined
from suture.delta.selection import Datum, Node, Selected

A, B, C, D, N = (Node(u, n) for u, n in ((0, "a"), (0, "b"), (1, "c"), (1, "d"), (0, "new")))


def group(*replaced: Node, new: tuple[Node, ...] = (), data: tuple[Datum, ...] = ()) -> Selected:
    return Selected(replaced, new, data)


def test_groups_of_one_fix_become_one() -> None:
    fixes = [frozenset({A, C}), frozenset({B})]
    assert joined([group(A), group(B), group(C)], fixes) == (group(A, C), group(B))
    assert joined([group(A), group(B)], [frozenset({A}), frozenset({B})]) == (group(A), group(B))
    assert joined([], fixes) == ()


def test_a_function_of_two_fixes_joins_both() -> None:
    assert joined([group(A), group(B), group(C)], [frozenset({A, C}), frozenset({B, C})]) == (group(A, B, C),)
    assert joined([group(A), group(B), group(C)], [frozenset({A, B}), frozenset({A, C})]) == (group(A, B, C),)
    assert joined([group(D), group(A, D)], [frozenset({A}), frozenset({D})]) == (group(A, D, D),)


def test_one_whose_fix_nobody_can_tell_may_be_of_any() -> None:
    fixes = [frozenset({A}), frozenset({B})]
    assert joined([group(A), group(B), group(C)], fixes) == (group(A, B, C),)
    # but not for a new function: a clone goes with its callers
    assert joined([group(A, new=(N,)), group(B)], fixes) == (group(A, new=(N,)), group(B))
    assert joined([group(A, new=(N,)), group(B)], [frozenset({A}), frozenset({B, N})]) == (group(A, B, new=(N,)),)


def test_what_is_joined_is_in_order_and_data_once() -> None:
    one, two, three = Datum(0, 9), Datum(0, 3), Datum(1, 1)
    found = joined([group(C, data=(three, one)), group(A, data=(one, two))], [frozenset({A, C})])
    assert found == (Selected((A, C), (), (two, one, three)),)
    assert joined([group(D), group(A)], [frozenset({A}), frozenset({D})]) == (group(A), group(D))
