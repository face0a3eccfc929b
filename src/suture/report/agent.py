"""The agent of a host as reports name it: what it has put in, what waits and why, what it has decided."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum

from suture.report.feed import Offer
from suture.report.reason import Cause, Reason


class AgentVerdict(Enum):
    """What is to become of a patch: it goes in, later perhaps, or not."""

    APPLY = "apply"
    WAIT = "wait"
    REFUSE = "refuse"


@dataclass(frozen=True)
class MappedBinary:
    """A binary that runs here: its build-id, a path by which a process has mapped it ("" for the kernel), in how many
    processes, and the package that dpkg says it is from and that package's version, "" where dpkg knows none."""

    build_id: str
    path: str
    processes: int
    package: str
    version: str


@dataclass(frozen=True)
class PatchInForce:
    """A patch that the agent has taken. `since`: when it did. `processes` and `failed` count those of the last try;
    `held`: it goes into no further process, for the reason in `why`, which also tells what failed last."""

    offer: Offer
    since: str
    processes: int
    failed: int
    held: bool
    why: Cause | None

    @property
    def has_crashed(self) -> bool:
        """Whether it is held because processes died under it."""
        return self.held and self.why is not None and self.why.reason is Reason.AGENT_CRASHED


@dataclass(frozen=True)
class WaitingPatch:
    """A patch that the feed offers and that is not in."""

    offer: Offer
    verdict: AgentVerdict
    why: Cause


@dataclass(frozen=True)
class HealthSeen:
    """What the agent can see of patched processes that fail: `crashes`, and services that end with an error again and
    again (`exits`); `why` not. `lost` deaths were not seen, because the kernel had no room to tell of more."""

    crashes: bool
    exits: bool
    why: tuple[Cause, ...]
    lost: int


@dataclass(frozen=True)
class AgentEvent:
    """One thing that the agent did or decided. `what` is a word, `patch` an id, "" where it concerns none."""

    time: str
    what: str
    patch: str
    text: str
