"""A refusal: why something can't be applied live. Every check of making answers with this."""

from __future__ import annotations

from dataclasses import dataclass

RESTART = "restart the program with the fixed package"
RESTART_KERNEL = "restart with the fixed kernel"
"""What always helps, as a remedy or the end of one."""
CHANGED_BY_OTHERS = f"something else has changed this process: {RESTART}"


@dataclass(frozen=True)
class Refusal:
    """Why something can't be replaced live, and what a person can do."""

    reason: str
    remedy: str
