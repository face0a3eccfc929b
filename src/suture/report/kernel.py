"""The running kernel's live patches as reports name them."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum

from suture.report.attempt import CountedWire


@dataclass(frozen=True)
class LivepatchedFunction:
    """A replaced function: its object (vmlinux or a module), its name, its position among equal names."""

    object: str
    name: str
    position: int


@dataclass(frozen=True)
class LoadedModule:
    """A livepatch module that the kernel has; `id` is "" for another maker's. `enabled` without `transition` means in
    force.

    `is_partial`: part of its fixes is missing. `tripwires` count since it was loaded.
    """

    name: str
    id: str
    state: str
    enabled: bool
    transition: bool
    is_partial: bool
    functions: tuple[LivepatchedFunction, ...]
    fixes: tuple[str, ...]
    cves: tuple[str, ...]
    tripwires: tuple[CountedWire, ...]


@dataclass(frozen=True)
class HoldingTask:
    """A task that has not changed over. `stack` are its kernel functions, the innermost first."""

    pid: int
    tid: int
    command: str
    state: str
    stack: tuple[str, ...]


@dataclass(frozen=True)
class AtBoot:
    """A patch that is kept for the next boot of the kernel with `build_id`. `held_back`: the machine died with it, so
    it is not tried again."""

    name: str
    build_id: str
    state: str
    held_back: bool = False


@dataclass(frozen=True)
class KernelStatus:
    """What the running kernel carries, who holds up a transition, and what is kept for the next boot."""

    patches: tuple[LoadedModule, ...]
    holding: tuple[HoldingTask, ...]
    at_boot: tuple[AtBoot, ...]


class KernelOutcome(Enum):
    """What became of a kernel patch."""

    APPLIED = "applied"
    ALREADY = "applied already"
    REVERTED = "reverted"
    DISABLED = "disabled, still loaded"


@dataclass(frozen=True)
class ChangedKernel:
    """`seconds` from loading to the end of the transition; `replaced` are older patches that this one took the place
    of."""

    name: str
    outcome: KernelOutcome
    seconds: float
    notes: tuple[str, ...]
    replaced: tuple[str, ...]


@dataclass(frozen=True)
class KernelPlan:
    """What loading would do."""

    module: str
    functions: tuple[str, ...]
