"""Which kernel runs in effect: the running version, and the version or fixes that live patches bring."""

from __future__ import annotations

import os
import re
from dataclasses import dataclass

from suture.kernel.livepatch import LoadedPatch


@dataclass(frozen=True)
class EffectiveVersion:
    """`effective` is a version all of whose fixes are in, else the running one; `fixes` and `cves` come on top."""

    release: str
    version: str
    effective: str
    fixes: tuple[str, ...]
    cves: tuple[str, ...]

    def line(self) -> str:
        """One line, as `uname` has it."""
        more = f"+{len(self.fixes)} fixes" if self.fixes and self.effective == self.version else ""
        return f"Linux {self.release} {self.effective}{more}"


def running_version(text: str) -> str:
    """`#1 SMP PREEMPT_DYNAMIC Debian 6.1.176-1 (2026-07-02)` gives 6.1.176-1; another kernel's text is kept whole."""
    found = re.search(r"\bDebian (\S+)", text)
    return found[1] if found else text


def effective(patches: tuple[LoadedPatch, ...], uname: os.uname_result | None = None) -> EffectiveVersion:
    """Of all patches that are in force."""
    own = uname or os.uname()
    version = running_version(own.version)
    active = [p for p in patches if p.enabled and not p.transition and p.is_ours]
    reached = [p.record["effective"] for p in active if p.record.get("effective")]
    return EffectiveVersion(
        own.release,
        version,
        reached[-1] if reached else version,
        tuple(sorted({f for p in active for f in p.fixes})),
        tuple(sorted({c for p in active for c in p.cves})),
    )
