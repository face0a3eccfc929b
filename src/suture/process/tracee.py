"""A process as the kernel tells of it: identity that outlives PID reuse, state, threads, who shares its memory."""

from __future__ import annotations

import errno
import os
import re
from collections.abc import Iterable
from contextlib import suppress
from dataclasses import dataclass
from types import TracebackType
from typing import Protocol

from suture.process import syscall
from suture.process.error import Busy, Hostile, NoPermission, NoProcess, executed
from suture.process.proc import open_file, open_folder, read_file
from suture.report.reason import Reason

_PF_KTHREAD = 0x00200000
MOST_THREADS = 1 << 16
_MOST_DESCRIPTORS = 1 << 16


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

    state: str
    tracer: int
    seccomp: int
    blocked: int
    ignored: int
    caught: int
    pending: int
    shared_pending: int
    features: str


class Tracee:
    """A process, held so that no number in it can come to mean another one. A context manager.

    Numbers are used again, so the process is held by a pidfd and by its folder in /proc, in which names are looked up:
    what has ended is not found there, whoever bears its number now. What was read by number is right when the one that
    bore it is still there afterwards: `check_same`.

    `via` is the thread whose number stands for the memory in system calls: a main thread that has ended, while others
    live on, has none. `population` spares looking at all processes for each of many. `writes` opens `memory` at once,
    before anything is read: what is found out is then true of what is written. Raises NoProcess (also for a zombie and
    a kernel thread) and NoPermission on opening. `kept` are threads that the caller has stopped (PTRACE_EVENT_STOP of
    PTRACE_SEIZE) and that stay so: they are borrowed and looked at like others, and never let go.
    """

    def __init__(
        self, pid: int, population: Sharers | None = None, writes: bool = False, kept: Iterable[int] = ()
    ) -> None:
        self.pid = pid
        self.kept = frozenset(kept)
        self.population = population
        self._memory = -1
        self._open: list[int] = []
        try:
            self.pidfd = self._keep(syscall.pidfd_open(pid))
        except OSError as problem:
            # EINVAL/ENOENT: a thread's number that is no process's
            raise NoProcess(pid) from problem
        try:
            self._thread = self.folder = self._keep(open_folder(pid))
            if not syscall.is_there(self.pidfd):  # until here the number was its own
                raise NoProcess(pid)
            stat = self._stat(self.folder)
            if stat.flags & _PF_KTHREAD:
                raise NoProcess(pid, "is a kernel thread", reason=Reason.KERNEL_THREAD)
            self.start_time = stat.start_time
            self.via = pid
            if stat.state in "ZX":
                self.via, self._thread = self._living_thread()
            if writes:
                _ = self.memory
        except BaseException:
            self._close()
            raise

    def __enter__(self) -> Tracee:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._close()
        if isinstance(error, ProcessLookupError):  # ESRCH of any call: what it was about is gone
            raise NoProcess(self.pid, "ended during the work", reason=Reason.ENDED_DURING_WORK) from error

    def _keep(self, fd: int) -> int:
        self._open.append(fd)
        return fd

    def _close(self) -> None:
        while self._open:
            os.close(self._open.pop())

    def _stat(self, folder: int) -> Stat:
        return _parse_stat(read_file(self.pid, "stat", folder))

    def _living_thread(self) -> tuple[int, int]:
        """A thread that has not ended, and its folder."""
        for tid in self.threads():
            with suppress(NoProcess):
                folder = self._keep(open_folder(self.pid, f"task/{tid}", self.folder))
                if self._stat(folder).state not in "ZX":
                    return tid, folder
                os.close(self._open.pop())
        raise NoProcess(self.pid, "has ended (a zombie)")

    @property
    def memory(self) -> int:
        """A descriptor of the process's memory for writing. It is that of the program that ran when it was first asked
        for: when the process executes another one, it writes nowhere. Raises NoProcess, NoPermission."""
        if self._memory < 0:
            self._memory = self._keep(
                open_file(self.pid, "mem", "its memory may not be written", os.O_RDWR, self._thread)
            )
        return self._memory

    def check_same(self) -> None:
        """Raises NoProcess when the process has ended or executes another program since `memory` was asked for, Busy
        when the thread `via` has ended: all that was read by its number before is in doubt."""
        if self._stat(self.folder).state in "ZX" and self.via == self.pid:
            self._living_thread()
            raise Busy(
                f"pid {self.pid}: its main thread has ended meanwhile", "try again", reason=Reason.BUSY_THREAD_ENDED
            )
        if self.via != self.pid:
            try:
                ended = self._stat(self._thread).state in "ZX"
            except NoProcess:
                ended = True
            if ended:
                self._living_thread()
                raise Busy(
                    f"pid {self.pid}: thread {self.via} has ended meanwhile",
                    "try again",
                    reason=Reason.BUSY_THREAD_ENDED,
                )
        if self._memory >= 0 and not syscall.is_in_use(self._memory):
            raise executed(self.pid)

    def has_thread(self, tid: int) -> bool:
        """Whether the number is one of its threads'. It stays so while the thread is our tracee, since we are told of
        its end."""
        try:
            os.stat(f"task/{tid}", dir_fd=self.folder)
        except (FileNotFoundError, ProcessLookupError):
            return False
        return True

    def threads(self) -> list[int]:
        """Thread ids. Raises NoProcess."""
        tasks = open_folder(self.pid, "task", self.folder)
        try:
            return [int(name) for name in self._listed(tasks)]
        finally:
            os.close(tasks)

    def _listed(self, folder: int) -> list[str]:
        """The names in an open folder of the process. Raises NoProcess where what it tells of has ended meanwhile."""
        try:
            return os.listdir(folder)
        except (FileNotFoundError, ProcessLookupError) as problem:
            raise NoProcess(self.pid) from problem

    def descriptors(self, tid: int | None = None) -> list[tuple[int, str]]:
        """Descriptors of a thread, of `via` when none is given, and what their links in /proc say. Raises NoProcess,
        Hostile."""
        table = open_folder(self.pid, f"task/{tid or self.via}/fd", self.folder)
        try:
            names = self._listed(table)
            if len(names) > _MOST_DESCRIPTORS:
                raise Hostile(self.pid, f"has {len(names)} open files", reason=Reason.TOO_MANY_FILES)
            found = []
            for name in names:
                with suppress(OSError):
                    found.append((int(name), os.readlink(name, dir_fd=table)))
            return found
        finally:
            os.close(table)

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


def read_stat(pid: int, tid: int | None = None) -> Stat:
    """State of a process, or of one thread. Raises NoProcess."""
    return _parse_stat(read_file(pid, "stat" if tid is None else f"task/{tid}/stat"))


def _parse_stat(raw: bytes) -> Stat:
    # the name in parentheses may hold anything, so count from the last one
    fields = raw[raw.rindex(b")") + 2 :].split()
    return Stat(fields[0].decode(), int(fields[1]), int(fields[6]), int(fields[17]), int(fields[19]))


_FIELDS = re.compile(
    rb"^(State|TracerPid|Seccomp|SigBlk|SigIgn|SigCgt|SigPnd|ShdPnd|x86_Thread_features):\t(.*)$", re.MULTILINE
)


def read_status(pid: int, tid: int | None = None) -> Status:
    """Raises NoProcess."""
    raw = read_file(pid, "status" if tid is None else f"task/{tid}/status")
    # the first line holds the name, in which newlines are escaped
    rows: dict[bytes, bytes] = dict(_FIELDS.findall(raw))

    def bits(name: bytes) -> int:
        return int(rows.get(name, b"0"), 16)

    return Status(
        rows.get(b"State", b"X")[:1].decode(),
        int(rows.get(b"TracerPid", b"0")),
        int(rows.get(b"Seccomp", b"0")),
        bits(b"SigBlk"),
        bits(b"SigIgn"),
        bits(b"SigCgt"),
        bits(b"SigPnd"),
        bits(b"ShdPnd"),
        rows.get(b"x86_Thread_features", b"").decode(),
    )


def read_condition(pid: int, tid: int) -> tuple[str, bool]:
    """State of a thread and whether it has a seccomp filter: what is asked of every thread of hundreds. Raises
    NoProcess."""
    raw = read_file(pid, f"task/{tid}/status")
    at = raw.find(b"\nState:\t") + 8
    return chr(raw[at]), b"\nSeccomp:\t2\n" in raw


def process_of(tid: int) -> int:
    """The process that a thread belongs to. Raises NoProcess."""
    found = re.search(rb"^Tgid:\t(\d+)$", read_file(tid, "status"), re.MULTILINE)
    if found is None:
        raise NoProcess(tid)
    return int(found[1])


def command_name(pid: int) -> str:
    """The process's own name for itself, printable; empty when it is gone."""
    try:
        raw = read_file(pid, "comm")
    except (NoProcess, NoPermission):
        return ""
    return "".join(c if c.isprintable() else "?" for c in raw.rstrip(b"\n").decode(errors="replace"))
