"""Which patches of a feed are parts of one fix, and so are applied together. Values only."""

from __future__ import annotations

from collections.abc import Iterable

from suture.report.feed import Offer
from suture.report.patch import PatchKind


def is_beside(one: Offer, other: Offer) -> bool:
    """Whether two patches, of different binaries of one version of a package, have parts of the same fix."""
    return (
        one.kind is PatchKind.PROCESS is other.kind
        and one.build_id != other.build_id
        and (one.source, one.version) == (other.source, other.version)
        and bool(set(one.fixes) & set(other.fixes))
    )


def beside(one: Offer, others: Iterable[Offer]) -> list[Offer]:
    """Those that belong to it, by whatever steps."""
    left, found, ends = list(others), [], [one]
    while ends:
        end = ends.pop()
        near = [o for o in left if o.patch != one.patch and is_beside(end, o)]
        left = [o for o in left if o not in near]
        found += near
        ends += near
    return found
