"""Tripwires of a patch: places of the new code that count how often they reject something.

A counter is eight bytes of the patch's own data, in a section of its own; the code adds one to it by a single
instruction. Standard library only.
"""

from __future__ import annotations

from dataclasses import dataclass

SECTION = ".suture.tripwire"
COUNTER_SIZE = 8
MOST_TRIPWIRES = 256
SYMBOL = "suture_tripwire_"
"""What a counter's symbol begins with, in objects and in the patch; its number follows."""
UNWIRED = "counters could not be put in"
"""Why a patch has no tripwire at all, where the work on them failed; what failed follows."""
NOISY = "noisy: "
"""What the reason why a place has no tripwire begins with, where harmless use reaches it."""


@dataclass(frozen=True)
class Tripwire:
    """`file` and `line` are those of the fixed source, `condition` what was true when something was rejected; `offset`
    is that of the counter in its section; `cves` are those that the fix is for."""

    file: str
    line: int
    function: str
    condition: str
    kind: str
    fix: str
    cves: tuple[str, ...]
    offset: int


@dataclass(frozen=True)
class WithoutTripwire:
    """A place that rejects something, or may, without a counter, and why."""

    file: str
    line: int
    function: str
    condition: str
    reason: str
