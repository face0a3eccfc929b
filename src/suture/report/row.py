"""One binary that a process has loaded, and the running kernel: where each stands, with which holes, and why."""

from __future__ import annotations

from dataclasses import dataclass

from suture.report.hole import Hole, shown
from suture.report.reason import Cause
from suture.report.standing import Standing


@dataclass(frozen=True)
class Row:
    """One process and one binary, loaded at `address`; `copies` is how often the process has loaded this build.
    `package`: as a patch for the binary names it, else the one that has its path in the process's root; `installed` the
    version of it that is installed there. Both are "" where none is known. `patches` are ids of those that the process
    carries for it."""

    pid: int
    command: str
    file: str
    build_id: str
    address: int
    standing: Standing
    patches: tuple[str, ...]
    holes: tuple[Hole, ...]
    causes: tuple[Cause, ...]
    package: str = ""
    copies: int = 1
    installed: str = ""

    @property
    def cves(self) -> tuple[str, ...]:
        return shown(self.holes)

    @property
    def why(self) -> str:
        """The reasons in words."""
        told = "; ".join(c.text for c in self.causes)
        return f"the copy at {self.address:#x} of {self.copies}: {told}" if self.copies > 1 else told


@dataclass(frozen=True)
class KernelRow:
    """The running kernel against the patches of a folder. `next_boot` is the version of the image that the next boot
    takes, "" if none is found (a container). `patches` are ids."""

    release: str
    version: str
    build_id: str
    standing: Standing
    next_boot: str
    patches: tuple[str, ...]
    holes: tuple[Hole, ...]
    causes: tuple[Cause, ...]

    @property
    def cves(self) -> tuple[str, ...]:
        return shown(self.holes)

    @property
    def why(self) -> str:
        """The reasons in words."""
        return "; ".join(c.text for c in self.causes)
