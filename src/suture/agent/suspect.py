"""Which patches are suspected when a process fails: of those that it has carried, the ones that came last.

Two times count. A process is watched for the policy's window after a patch went into it. When a patch first came to
this host decides which of several is suspected: the newest, and those that came shortly before it. A process may have
been spoilt by a patch that is out again, so that one is suspected for a while more. An older patch gets a new window
when a newer one that was suspected in its place is out: if processes go on failing, it is its turn.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace

SETTLED_SECONDS = 60.0
_MOST_PROCESSES = 1 << 16


@dataclass(frozen=True)
class Suspected:
    """`seconds` since the last of `patches` went into the process. `spared` are older ones within their window."""

    patches: tuple[str, ...]
    spared: tuple[str, ...]
    seconds: float


@dataclass(frozen=True)
class Stay:
    """From when to when a process has a patch; `until` is none while it has it."""

    since: float
    until: float | None = None


class Carriers:
    """The processes that were patched, by pid, and what they carry. All times are seconds of one clock."""

    def __init__(self) -> None:
        self._stays: OrderedDict[int, dict[str, Stay]] = OrderedDict()
        self._came: dict[str, float] = {}  # by patch: to this host
        self._out: set[str] = set()
        self._spared: set[str] = set()
        self._again: dict[str, float] = {}  # by patch: when a new window begins

    def came(self, patches: Mapping[str, float]) -> None:
        """When these came to this host, as is known from before."""
        self._came |= patches

    def patched(self, pid: int, patches: Iterable[str], now: float) -> int | None:
        """A process has these from now on. The pid that is forgotten, where there are too many."""
        stays = self._stays.setdefault(pid, {})
        for patch in patches:
            stays[patch] = Stay(now)
            if patch in self._out:
                self._out.remove(patch)
                self._came[patch] = now
            self._came.setdefault(patch, now)
        self._stays.move_to_end(pid)
        return self._stays.popitem(last=False)[0] if len(self._stays) > _MOST_PROCESSES else None

    def taken_out(self, patch: str, now: float) -> None:
        """No process has it any more."""
        for stays in self._stays.values():
            stay = stays.get(patch)
            if stay is not None and stay.until is None:
                stays[patch] = replace(stay, until=now)
        self._out.add(patch)
        self._spared.discard(patch)
        self._again |= dict.fromkeys(self._spared, now + SETTLED_SECONDS)
        self._spared.clear()

    def forget(self, pid: int) -> None:
        """A process has ended as it should."""
        self._stays.pop(pid, None)

    def __contains__(self, pid: int) -> bool:
        return pid in self._stays

    def suspected(self, pid: int, parent: int, now: float, window: float) -> Suspected | None:
        """Of one that has failed, and is forgotten. What it has of its parent counts where it was not patched itself.
        None for one that carries nothing within `window`."""
        stays = self._stays.pop(pid, None) or self._stays.get(parent, {})
        recent = [patch for patch, stay in stays.items() if self._is_recent(patch, stay, now, window)]
        if not recent:
            return None
        newest = max(self._came[patch] for patch in recent)
        patches = tuple(patch for patch in recent if newest - self._came[patch] <= SETTLED_SECONDS)
        spared = tuple(patch for patch in recent if patch not in patches)
        self._spared |= set(spared)
        return Suspected(patches, spared, now - max(stays[patch].since for patch in patches))

    def _is_recent(self, patch: str, stay: Stay, now: float, window: float) -> bool:
        if stay.until is not None and now - stay.until > SETTLED_SECONDS:
            return False
        return now - max(stay.since, self._again.get(patch, stay.since)) <= window
