"""Which processes still need a restart, and why: those that run old code which no live patch has replaced.

A process whose holes are all closed in memory needs none, though its files on disk are replaced. The lines for programs
have the form of `needrestart -b` (README.batch.md of needrestart).
"""

from __future__ import annotations

from collections.abc import Sequence

from suture.report.document import RestartReport, ScanReport
from suture.report.reason import Cause
from suture.report.restart import NeededRestart
from suture.report.scan import ScannedBinary, ScannedKernel, ScannedProcess
from suture.report.standing import Disk, Memory
from suture.visible import visible

_ON_DISK = (Disk.REPLACED, Disk.DELETED)
_VERSION = "3.6"  # of needrestart, whose lines these are
_CURRENT, _PENDING = 1, 3  # NEEDRESTART-KSTA


def restarts(scan: ScanReport) -> RestartReport:
    """What a scan says of restarts."""
    rows = tuple(row for p in scan.processes if (row := _needed(p)) is not None)
    kernel = scan.kernel is not None and _reboot(scan.kernel)
    return RestartReport(scan.time, scan.exit_code, scan.host, rows, kernel, scan.unread)


def batch(report: RestartReport, next_boot: str) -> list[str]:
    """Lines for programs. `next_boot` is the kernel that the next boot takes, "" where it is not known."""
    kernel = report.host.kernel.version
    lines = [f"NEEDRESTART-VER: {_VERSION}", f"NEEDRESTART-KCUR: {kernel}", f"NEEDRESTART-KEXP: {next_boot or kernel}"]
    lines.append(f"NEEDRESTART-KSTA: {_PENDING if report.reboot else _CURRENT}")
    units = sorted({r.unit for r in report.processes if r.unit and not r.container})
    lines += [f"NEEDRESTART-SVC: {visible(unit)}" for unit in units]
    lines += [f"NEEDRESTART-CONT: {visible(c)}" for c in sorted({r.container for r in report.processes} - {""})]
    return lines


def _needed(process: ScannedProcess) -> NeededRestart | None:
    old = [b for b in process.binaries if _is_old(b)]
    if not old:
        return None
    cves = {h.cve for b in old for h in b.holes if not h.state.is_closed}
    waiting = [b for b in old if b.disk not in _ON_DISK]
    return NeededRestart(
        process.pid, process.start_time, process.command, process.program, process.unit, process.container,
        tuple(dict.fromkeys(b.file for b in old)), tuple(sorted(cves)), not waiting,
        tuple(dict.fromkeys(b.package for b in waiting if b.package)), tuple(_why(old)),
    )  # fmt: skip


def _is_old(binary: ScannedBinary) -> bool:
    """Whether it runs code that is known, or has to be taken, to be old."""
    if binary.memory is Memory.FIXED:
        return False
    return binary.disk in _ON_DISK or any(not h.state.is_closed for h in binary.holes)


def _why(old: Sequence[ScannedBinary]) -> list[Cause]:
    return list(dict.fromkeys(c for b in old for c in b.causes))


def _reboot(kernel: ScannedKernel) -> bool:
    return kernel.memory is not Memory.FIXED and (
        any(not h.state.is_closed for h in kernel.holes) or kernel.disk is Disk.REPLACED
    )
