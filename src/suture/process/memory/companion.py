"""Patches that were switched in the same stop, as the records of a process name one another."""

from __future__ import annotations

from collections.abc import Iterable

from suture.patch.record import Record


def companions(identity: str, in_force: Iterable[Record]) -> tuple[str, ...]:
    """The ids, but for `identity` itself, of patches in force that belong to it, by whatever steps: a patch that came
    later names one that was there, and not the other way round. None where it is not in force itself."""
    names: dict[str, set[str]] = {}
    for record in in_force:
        names.setdefault(record.id, set()).update(record.companions)
    found: set[str] = set()
    left = {identity} & names.keys()
    while left:
        one = left.pop()
        found.add(one)
        named = {other for other in names if other in names[one] or one in names[other]}
        left |= named - found
    return tuple(sorted(found - {identity}))
