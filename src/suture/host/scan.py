"""What runs here, against patch files: processes and the kernel. Nothing is changed."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from pathlib import Path

from suture.error import ExitCode, NotFound
from suture.host import told
from suture.host.described import described
from suture.host.facts import this_host
from suture.host.recipient import read
from suture.host.subject import process
from suture.kernel import standing as kernel
from suture.kernel.manifest import KernelPatch
from suture.patch.admission import read_folder
from suture.patch.file import PatchFile
from suture.process.see.scan import scan
from suture.report import mitigation
from suture.report.document import ScanReport
from suture.report.hole import on_host, worst
from suture.report.mitigation import Mitigation
from suture.report.moment import now
from suture.report.scan import by_process, scanned, scanned_kernel

_PATTERNS = ("*.suture.o", "*.ko")


def scan_host(folder: Path | None, *, only_open: bool = False, mitigations: Sequence[Mitigation] = ()) -> ScanReport:
    """All processes and the kernel against the patch files of a folder; with `only_open` only what is not fixed in
    memory, or not for long. `mitigations` count by the host's clock. Raises `NotFound` when there is no such folder."""
    if folder is not None and not folder.is_dir():
        raise NotFound(f"{folder}: no such folder", "give a folder of .suture.o and .ko files")
    known, bad = read_folder(folder, _PATTERNS, read) if folder else ([], [])
    found = scan([p for p in known if isinstance(p, PatchFile)])
    row = kernel.scan([p for p in known if isinstance(p, KernelPatch)])
    rows = [r for r in found.rows if r.standing.is_open or not only_open]
    if row is not None and only_open and not row.standing.is_open:
        row = None
    declared = mitigation.declared(mitigations, datetime.now().astimezone().date())
    processes = tuple(
        mitigation.in_process(scanned(process(pid), own, found.loaded[pid]), declared)
        for pid, own in by_process(rows).items()
    )
    image = mitigation.in_kernel(scanned_kernel(row), declared) if row is not None else None
    holes = on_host([*(p.holes for p in processes), *([image.holes] if image else [])], len(found.unread))
    holes = mitigation.on_host(holes, declared)
    return ScanReport(
        now(),
        int(ExitCode.PARTIAL if found.unread or bad else ExitCode.OK),
        this_host(),
        worst(h.state for h in holes) if holes else None,
        holes,
        processes,
        image,
        tuple(told.unread(u) for u in found.unread),
        tuple(described(p) for p in known),
        tuple(bad),
        declared,
    )
