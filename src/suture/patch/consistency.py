"""What a patch asks of the threads while it goes in or out."""

from __future__ import annotations

from enum import Enum


class Consistency(Enum):
    """STRICT: no thread inside the old function. RELAXED: old frames may finish in old code."""

    STRICT = "strict"
    RELAXED = "relaxed"
