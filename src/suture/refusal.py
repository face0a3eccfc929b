"""A refusal: why something can't be applied live. Every check of making answers with this."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Refusal:
    """Why something can't be replaced live, and what a person can do."""

    reason: str
    remedy: str
