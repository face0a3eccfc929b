"""Which processes still need a restart, as reports name them."""

from __future__ import annotations

from dataclasses import dataclass

from suture.report.process import Process
from suture.report.reason import Cause


@dataclass(frozen=True)
class NeededRestart(Process):
    """A process that runs old code which no live patch has replaced. `files` are the binaries, `cves` the holes that it
    leaves open as far as they are known. `enough`: the files on disk are replaced, so that a restart is all it takes;
    else `packages` have to be installed anew before. `why` has a reason for each file."""

    files: tuple[str, ...]
    cves: tuple[str, ...]
    enough: bool
    packages: tuple[str, ...]
    why: tuple[Cause, ...]
