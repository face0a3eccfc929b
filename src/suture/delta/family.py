"""Functions of one fix switch together: groups that have some of one fix become one.

A fix may move work from one function to another that neither calls it nor shares data with it, as a free() or the
taking of a lock: a call that begins in old code of one and goes on in new code of the other would do it twice, or not
at all.
"""

from __future__ import annotations

from collections.abc import Sequence

from suture.delta.selection import Node, Selected


def joined(groups: Sequence[Selected], fixes: Sequence[frozenset[Node]]) -> tuple[Selected, ...]:
    """The groups, joined by the functions of each fix. A replaced function whose fix nobody can tell may be of any.

    A new function that no fix has is a clone that the compiler made; its callers tell whose it is.
    """
    rows: list[tuple[frozenset[int], list[Selected]]] = []
    for group in groups:
        own = [frozenset(f for f, nodes in enumerate(fixes) if n in nodes) for n in group.replaced + group.new]
        unknown = not all(own[: len(group.replaced)])
        mine = frozenset(range(len(fixes))) if unknown else frozenset[int]().union(*own)
        alike = [r for r in rows if r[0] & mine]
        rows = [r for r in rows if not r[0] & mine]
        rows.append((mine.union(*(r[0] for r in alike)), [*(g for r in alike for g in r[1]), group]))
    found = [_merged(some) for _, some in rows]
    return tuple(sorted(found, key=lambda g: min(g.replaced + g.new)))


def _merged(groups: Sequence[Selected]) -> Selected:
    return Selected(
        tuple(sorted(n for g in groups for n in g.replaced)),
        tuple(sorted(n for g in groups for n in g.new)),
        tuple(sorted({d for g in groups for d in g.data}, key=lambda d: (d.unit, d.index))),
    )
