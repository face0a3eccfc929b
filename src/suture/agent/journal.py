"""What the agent did and decided: a line each on stderr, which systemd hands to the journal, and the last of them kept
for `suture agent status`."""

from __future__ import annotations

import sys
from collections import deque
from collections.abc import Iterable

from suture.report.agent import AgentEvent
from suture.report.moment import now
from suture.visible import MOST_CELL, visible

MOST = 100


class Journal:
    """The last events, oldest first."""

    def __init__(self, earlier: Iterable[AgentEvent] = ()) -> None:
        self._events = deque(earlier, MOST)
        self._told: dict[str, str] = {}

    @property
    def events(self) -> tuple[AgentEvent, ...]:
        return tuple(self._events)

    def tell(self, what: str, text: str, patch: str = "") -> None:
        """An event."""
        event = AgentEvent(now(), what, patch, visible(" ".join(text.split()), MOST_CELL))
        self._events.append(event)
        print(f"{what}: {f'{patch} ' if patch else ''}{event.text}", file=sys.stderr, flush=True)

    def tell_change(self, what: str, text: str, patch: str = "") -> None:
        """An event that is told again only when it has changed, as what waits at each look would be."""
        if self._told.get(f"{what} {patch}") != text:
            self._told[f"{what} {patch}"] = text
            self.tell(what, text, patch)

    def forget(self, what: str, patch: str = "") -> None:
        """From now on this is a change again."""
        self._told.pop(f"{what} {patch}", None)
