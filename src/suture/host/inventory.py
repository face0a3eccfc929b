"""What runs here, by build-id: every binary that a process has mapped, containers included, and the kernel."""

from __future__ import annotations

from dataclasses import dataclass

from suture.host import told
from suture.kernel.livepatch import build_id
from suture.number import BuildId
from suture.process.see.find import every_process
from suture.report.process import UnreadProcess


@dataclass(frozen=True)
class Inventory:
    """`build_ids` sorted; `unread` are processes that could not be looked at."""

    build_ids: tuple[str, ...]
    unread: tuple[UnreadProcess, ...]


def inventory() -> Inventory:
    """All that is mapped now, and the running kernel."""
    found, unread = every_process()
    mapped = {image.build_id for process in found for image in process.images} | {build_id()}
    return Inventory(tuple(sorted(mapped - {BuildId("")})), tuple(told.unread(u) for u in unread))
