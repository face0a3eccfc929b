"""Tasks that hold a transition up."""

from __future__ import annotations

from pathlib import Path

from suture.kernel.transition import holding
from suture.report.kernel import HoldingTask


def task(proc: Path, pid: int, state: int, stack: str) -> None:
    place = proc / str(pid) / "task" / str(pid)
    place.mkdir(parents=True)
    (place / "patch_state").write_text(f"{state}\n")
    (place / "comm").write_text("reader\n")
    (place / "stat").write_text(f"{pid} (reader) S 1 1")
    (place / "stack").write_text(stack)


def test_tasks_that_have_not_changed_over_are_listed_with_what_they_execute(tmp_path: Path) -> None:
    task(tmp_path, 10, 0, "[<0>] vt_ioctl+0x10/0x20\n[<0>] tty_ioctl+0x1/0x2\n")
    task(tmp_path, 11, 1, "")
    task(tmp_path, 12, -1, "")
    assert holding(1, tmp_path) == (HoldingTask(10, 10, "reader", "S", ("vt_ioctl", "tty_ioctl")),)
    assert [t.pid for t in holding(0, tmp_path)] == [11]
