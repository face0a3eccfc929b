"""What a scan finds: each process with its binaries, the kernel, and the holes of both and of the host."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import PurePosixPath

from suture.report.hole import Hole, HoleState, in_process, worst
from suture.report.process import Process
from suture.report.reason import Cause
from suture.report.row import KernelRow, Row
from suture.report.standing import Disk, Memory


@dataclass(frozen=True)
class ScannedBinary:
    """A binary that a process has loaded, at `address`; `copies` is how often it has loaded this build. `package`: as a
    patch for it names it, else the one that has its path in the process's root; `installed` is the version of it that
    dpkg says is installed there. Both are "" where none is known. `memory` is what runs, `disk` what the next start
    would run. `patches` are ids of those that the process carries for it."""

    file: str
    package: str
    build_id: str
    address: int
    copies: int
    memory: Memory
    disk: Disk
    patches: tuple[str, ...]
    holes: tuple[Hole, ...]
    causes: tuple[Cause, ...]
    installed: str = ""


@dataclass(frozen=True)
class ScannedProcess(Process):
    """A process with those of its binaries that there is something to say of. `state` is the worst of its holes, none
    without a hole."""

    state: HoleState | None
    holes: tuple[Hole, ...]
    binaries: tuple[ScannedBinary, ...]


@dataclass(frozen=True)
class ScannedKernel:
    """The running kernel. `next_boot` is the version of the image that the next boot takes, "" if none is found (a
    container)."""

    release: str
    version: str
    build_id: str
    memory: Memory
    disk: Disk
    next_boot: str
    state: HoleState | None
    patches: tuple[str, ...]
    holes: tuple[Hole, ...]
    causes: tuple[Cause, ...]


def state_of(found: Sequence[Hole]) -> HoleState | None:
    """The worst of them; None for none."""
    return worst(h.state for h in found) if found else None


def scanned(process: Process, rows: Sequence[Row], loaded: Iterable[str]) -> ScannedProcess:
    """A process from its rows; `loaded` are the paths of all that it has mapped."""
    names = {PurePosixPath(p).name for p in loaded}
    found = in_process([(PurePosixPath(r.file).name, r.holes) for r in rows], names)
    return ScannedProcess(**vars(process), state=state_of(found), holes=found, binaries=tuple(_binary(r) for r in rows))


def _binary(row: Row) -> ScannedBinary:
    return ScannedBinary(
        row.file,
        row.package,
        row.build_id,
        row.address,
        row.copies,
        row.standing.memory,
        row.standing.disk,
        row.patches,
        row.holes,
        row.causes,
        row.installed,
    )


def scanned_kernel(row: KernelRow) -> ScannedKernel:
    return ScannedKernel(
        row.release,
        row.version,
        row.build_id,
        row.standing.memory,
        row.standing.disk,
        row.next_boot,
        state_of(row.holes),
        row.patches,
        row.holes,
        row.causes,
    )


def by_process(rows: Iterable[Row]) -> Mapping[int, list[Row]]:
    """Rows by pid, in their order."""
    found: dict[int, list[Row]] = {}
    for row in rows:
        found.setdefault(row.pid, []).append(row)
    return found
