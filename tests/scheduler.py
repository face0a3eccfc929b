"""Gives whole groups of tests to the workers of pytest-xdist, in their order."""

from __future__ import annotations

from xdist.scheduler import LoadScopeScheduling

from tests.group import group_of


class GroupScheduling(LoadScopeScheduling):  # type: ignore[misc]  # it does not say that it has types
    """One group is one scope."""

    def _split_scope(self, nodeid: str) -> str:
        return group_of(nodeid)
