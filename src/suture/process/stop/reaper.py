"""Taking notice of threads that end while others are being seized, for which execve would wait for ever."""

from __future__ import annotations

import os
import threading
from contextlib import suppress

from suture.process import syscall
from suture.process.error import NoProcess
from suture.process.tracee import list_threads


class Reaper(threading.Thread):
    """Takes the exit of seized threads from the kernel while another is being seized. It rests during the pause, of
    which its turns at the interpreter would be a part.

    execve waits, holding a lock, until all other threads have ended and their tracer has taken notice; seizing waits
    for that lock (ptrace(2), BUGS). With no one to take notice, all three would wait for ever.
    """

    def __init__(self, pid: int) -> None:
        super().__init__(daemon=True)
        self._pid = pid
        self._over = threading.Event()
        self.rests = False

    def run(self) -> None:
        while not self._over.wait(0.02):
            if self.rests:
                continue
            with suppress(NoProcess):
                # also those that were born attached and that we have not heard of; the main thread's exit is its
                # parent's
                for tid in list_threads(self._pid):
                    with suppress(OSError):
                        if tid != self._pid:
                            self._take_exit(tid)

    def _take_exit(self, tid: int) -> None:
        """A tracee's stops are reported even to those who ask for exits alone, so look first and leave them to the
        tracer."""
        seen = os.waitid(os.P_PID, tid, os.WEXITED | os.WNOHANG | os.WNOWAIT | syscall.WALL)
        if seen is not None and seen.si_code in (os.CLD_EXITED, os.CLD_KILLED, os.CLD_DUMPED):
            os.waitid(os.P_PID, tid, os.WEXITED | os.WNOHANG | syscall.WALL)

    def end(self) -> None:
        self._over.set()
        if self.ident is not None:
            self.join()
