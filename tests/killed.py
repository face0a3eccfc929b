"""Work that is killed on its way."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable

from suture.patch.file import PatchFile
from suture.process.change.apply import apply
from suture.process.stop.borrow import OnStep


def applying(pid: int, patch: PatchFile, timeout: float = 10.0) -> Callable[[OnStep], object]:
    """Work for `killed_after`."""
    return lambda on_step: apply(pid, patch, timeout=timeout, on_step=on_step)


def killed_after(step: int, work: Callable[[OnStep], object]) -> str | None:
    """Do `work` in a child that kills itself after so many steps. The last step's name, None when it was done before
    that."""
    read, write = os.pipe()
    child = os.fork()
    if child == 0:
        count = 0

        def on_step(name: str) -> None:
            nonlocal count
            count += 1
            if count == step:
                os.write(write, name.encode())
                os.kill(os.getpid(), signal.SIGKILL)

        status = 1
        try:
            work(on_step)
            status = 0
        finally:
            os._exit(status)
    os.close(write)
    name = os.read(read, 200).decode()
    os.close(read)
    _, ended = os.waitpid(child, 0)
    if os.WIFSIGNALED(ended):
        return name
    assert os.waitstatus_to_exitcode(ended) == 0
    return None
