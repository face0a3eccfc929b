"""Which live patches processes carry, and which the kernel does. Nothing is changed."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial

from suture.error import ExitCode
from suture.host import told
from suture.host.facts import this_host
from suture.process.see.aside import named
from suture.process.see.find import Unread
from suture.process.see.status import status, status_of_all
from suture.report.document import StatusReport, UnameReport
from suture.report.kernel import KernelStatus
from suture.report.moment import now


def status_of_processes(pids: Sequence[int] = ()) -> StatusReport:
    """The patches of these processes, or of all that carry any. Raises what looking at a process that is named does."""
    unread: list[Unread] = []
    if pids:
        found = [named(pid, partial(status, pid)) for pid in pids]
    else:
        found, unread = status_of_all()
    code = ExitCode.PARTIAL if unread else ExitCode.OK
    rows = tuple(told.unread(u) for u in unread)
    return StatusReport(now(), int(code), this_host(), tuple(told.carrying(p) for p in found), rows, None)


def status_of_kernel() -> StatusReport:
    """The running kernel's live patches, who holds up a transition, and what is kept for the next boot."""
    from suture.kernel import boot
    from suture.kernel.livepatch import patches
    from suture.kernel.transition import holding

    found = patches()
    tasks = [t for p in found if p.transition for t in holding(1 if p.enabled else 0)]
    own = KernelStatus(
        tuple(told.loaded(p) for p in found),
        tuple(tasks),
        boot.standing(),
    )
    return StatusReport(now(), int(ExitCode.OK), this_host(), (), (), own)


def uname() -> UnameReport:
    """Which kernel runs in effect."""
    return UnameReport(now(), int(ExitCode.OK), this_host())
