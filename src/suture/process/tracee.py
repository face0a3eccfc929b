"""A process as the kernel tells of it: identity that outlives PID reuse, state, threads, who shares its memory."""

from __future__ import annotations

import errno
import os
import re
from dataclasses import dataclass
from types import TracebackType
from typing import Protocol

from suture.process import syscall
from suture.process.error import NoPermission, NoProcess
from suture.process.proc import read_file

_PF_KTHREAD = 0x00200000
MOST_THREADS = 1 << 16


@dataclass(frozen=True)
class Stat:
    """Fields of /proc/PID/stat (proc_pid_stat(5)). `start_time` is in clock ticks since boot."""

    state: str
    parent: int
    flags: int
    threads: int
    start_time: int


@dataclass(frozen=True)
class Status:
    """Fields of /proc/PID/status (proc_pid_status(5)); signal sets as bit masks, signal n at bit n-1."""

    tracer: int
    seccomp: int
    blocked: int
    ignored: int
    caught: int
    pending: int
    shared_pending: int
    features: str


class Tracee:
    """A process, held by a pidfd so that the number cannot come to mean another one. A context manager.

    `via` is the thread whose number stands for the memory in system calls: a main thread that has ended, while others
    live on, has none. `population` spares looking at all processes for each of many. Raises NoProcess (also for a zombie and a kernel thread) and NoPermission on opening.
    """

    def __init__(self, pid: int, population: Sharers | None = None) -> None:
        self.pid = pid
        self.population = population
        try:
            self.pidfd = syscall.pidfd_open(pid)
        except OSError as problem:
            # EINVAL/ENOENT: a thread's number that is no process's
            raise NoProcess(pid) from problem
        try:
            stat = read_stat(pid)
            if stat.flags & _PF_KTHREAD:
                raise NoProcess(pid, "is a kernel thread")
            self.via = pid if stat.state not in "ZX" else _living_thread(pid)
            self.start_time = stat.start_time
        except BaseException:
            os.close(self.pidfd)
            raise

    def __enter__(self) -> Tracee:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        os.close(self.pidfd)
        if isinstance(error, ProcessLookupError):  # ESRCH of any call: what it was about is gone
            raise NoProcess(self.pid, "ended during the work") from error

    def check_same(self) -> None:
        """Raises NoProcess when the process has ended, even if its number lives again."""
        stat = read_stat(self.pid)
        if stat.start_time != self.start_time or (stat.state in "ZX" and self.via == self.pid):
            raise NoProcess(self.pid, "ended during the work")

    def threads(self) -> list[int]:
        """Thread ids. Raises NoProcess."""
        return list_threads(self.pid)

    def memory_sharers(self) -> list[int]:
        """Other processes with the same memory (vfork children, CLONE_VM), found with kcmp(2).

        Asked of `via`: a main thread that has ended has no memory, and neither has any kernel thread.
        """
        try:
            if self.population is not None:
                return self.population.sharers(self.via, self.pid)
            return [p for p in list_processes() if p != self.pid and syscall.kcmp_memory(self.via, p) == 0]
        except OSError as problem:
            if problem.errno == errno.ENOSYS:
                return []
            raise


class Sharers(Protocol):
    """What knows who shares its memory with whom: `population.Population`."""

    def sharers(self, via: int, own: int) -> list[int]:
        """Other processes than `own` with the same memory as the thread `via`."""


def list_processes() -> list[int]:
    """Every process number in sight."""
    return [int(name) for name in os.listdir("/proc") if name.isdigit()]


def is_main_thread(tid: int) -> bool:
    """Whether a thread's number is its process's. False when it is gone."""
    try:
        return f"\nTgid:\t{tid}\n".encode() in read_file(tid, "status")
    except (NoProcess, NoPermission):
        return False


def list_threads(pid: int) -> list[int]:
    """Thread ids of a process. Raises NoProcess."""
    try:
        return [int(name) for name in os.listdir(f"/proc/{pid}/task")]
    except (FileNotFoundError, ProcessLookupError) as problem:
        raise NoProcess(pid) from problem


def _living_thread(pid: int) -> int:
    for tid in list_threads(pid):
        if read_stat(pid, tid).state not in "ZX":
            return tid
    raise NoProcess(pid, "has ended (a zombie)")


def read_stat(pid: int, tid: int | None = None) -> Stat:
    """State of a process, or of one thread. Raises NoProcess."""
    raw = read_file(pid, "stat" if tid is None else f"task/{tid}/stat")
    # the name in parentheses may hold anything, so count from the last one
    fields = raw[raw.rindex(b")") + 2 :].split()
    return Stat(fields[0].decode(), int(fields[1]), int(fields[6]), int(fields[17]), int(fields[19]))


_FIELDS = re.compile(
    rb"^(TracerPid|Seccomp|SigBlk|SigIgn|SigCgt|SigPnd|ShdPnd|x86_Thread_features):\t(.*)$", re.MULTILINE
)


def read_status(pid: int, tid: int | None = None) -> Status:
    """Raises NoProcess."""
    raw = read_file(pid, "status" if tid is None else f"task/{tid}/status")
    # the first line holds the name, in which newlines are escaped
    rows: dict[bytes, bytes] = dict(_FIELDS.findall(raw))

    def bits(name: bytes) -> int:
        return int(rows.get(name, b"0"), 16)

    return Status(
        int(rows.get(b"TracerPid", b"0")),
        int(rows.get(b"Seccomp", b"0")),
        bits(b"SigBlk"),
        bits(b"SigIgn"),
        bits(b"SigCgt"),
        bits(b"SigPnd"),
        bits(b"ShdPnd"),
        rows.get(b"x86_Thread_features", b"").decode(),
    )


def command_name(pid: int) -> str:
    """The process's own name for itself, printable; empty when it is gone."""
    try:
        raw = read_file(pid, "comm")
    except (NoProcess, NoPermission):
        return ""
    return "".join(c if c.isprintable() else "?" for c in raw.rstrip(b"\n").decode(errors="replace"))
