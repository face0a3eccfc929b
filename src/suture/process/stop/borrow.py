"""Borrowing one thread of a process for a few system calls, so that it survives even if we are killed at any instant.

Before its registers change, a signal frame with the original ones is written below the red zone of its stack, and its
signals are blocked. Then every state in which we may die leads back through sigreturn by itself:

- before a call, the thread stands at `syscall; ret` with rax = rt_sigreturn: alone, it loads the frame and goes on as
  before;
- at the entry of that sigreturn the call's number is exchanged for ours: alone, it makes our call, returns into the
  restorer (the frame's first word) and from there into sigreturn.

When all goes well, the registers are put back by ptrace in a stop of the same kind as the first, so that the kernel
itself restarts an interrupted call (signal restarts, restart blocks).
"""

from __future__ import annotations

import errno
import math
import os
import signal
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress

from suture.error import SutureError, Unsupported
from suture.number import Address
from suture.process import syscall, x86_64
from suture.process.error import AlreadyTraced, Busy, CallFailed, NoPermission, NoProcess, executed
from suture.process.lending import Lending
from suture.process.memory import memory
from suture.process.memory.gadget import Gadgets, find_gadgets, gadgets_within
from suture.process.memory.maps import Maps
from suture.process.proc import open_file
from suture.process.stack.room import MARK, StackRoom, find_room
from suture.process.stop.detach import detach_running, sweep, wait_while_ours
from suture.process.stop.interrupted import repair_interrupted
from suture.process.stop.obstacle import why_uninterruptible
from suture.process.stop.registers import STOPPED
from suture.process.stop.unsettled import refuse_unsettled
from suture.process.syscall import Registers
from suture.process.tracee import Tracee, is_main_thread, read_stat, read_status
from suture.process.urgency import lending
from suture.process.x86_64 import SignalFrame
from suture.refusal import RESTART
from suture.report.reason import Reason

OnStep = Callable[[str], None]
"""Called with a step's name after it is done. Tests kill the applier there."""

_SCRATCH = 512
_ROOM_BESIDE_STATE = 4096
_ALL_SIGNALS = (1 << 64) - 1
_STOP_SECONDS = 0.2
_CALL_SECONDS = 5.0
_LEAST_SECONDS = 0.2  # for a call that begins when the time is over
_BACK_SECONDS = 1.0
_USER_DISPATCH = "handles its system calls itself (Syscall User Dispatch)"
_DISPATCH_ALLOW = b"\0"  # SYSCALL_DISPATCH_FILTER_ALLOW
_LISTINGS = 16
_MOST_STUCK = 3
_RESTART_BLOCK_CALLS = frozenset({7, 35, 202, 230})  # poll, nanosleep, futex, clock_nanosleep


def no_step(_: str) -> None:
    """The callback of those who do not watch steps."""


class Borrowed:
    """A stopped thread with its way home prepared; `call` makes a system call in it."""

    def __init__(
        self,
        tracee: Tracee,
        tid: int,
        gadgets: Gadgets,
        original: Registers,
        frame: int,
        on_step: OnStep,
        deadline: float,
    ) -> None:
        self._deadline = deadline
        self.tracee, self.pid, self.tid = tracee, tracee.pid, tid
        self._call, self._frame, self._on_step = gadgets.call, frame, on_step
        self._at_rest = Registers.from_buffer_copy(original)
        self._at_rest.rip = gadgets.call
        self._at_rest.rsp = frame + 8
        self._at_rest.rax = x86_64.SYS_RT_SIGRETURN
        self._at_rest.orig_rax = x86_64.NO_SYSCALL

    def rest(self) -> None:
        """Stand before sigreturn: alone, the thread goes home."""
        syscall.set_registers(self.tid, self._at_rest)

    def put(self, text: bytes) -> int:
        """Write up to 256 bytes where a call may read them, below the frame; their address."""
        memory.write(self.pid, self.tracee.memory, Address(self._frame - _SCRATCH), text[:256])
        return self._frame - _SCRATCH

    def open_path(self, fd: int) -> int:
        """What the thread has open under a number, held without opening it (O_PATH). The table is the thread's own:
        other threads of the process may have another one, and such as share it may have changed it."""
        return open_file(self.pid, f"task/{self.tid}/fd/{fd}", flags=os.O_PATH, folder=self.tracee.folder)

    def descriptors(self) -> list[tuple[int, str]]:
        """Descriptors of the thread, and what their links in /proc say. Raises Hostile when they are too many."""
        return self.tracee.descriptors(self.tid)

    def call(self, name: str, number: int, *arguments: int) -> int:
        """Make one system call and return its result. Raises OSError with the call's errno, NoProcess when the thread
        ends."""
        self.rest()
        self._to_syscall_stop()
        registers = Registers.from_buffer_copy(self._at_rest)
        for register, value in zip(
            ("rdi", "rsi", "rdx", "r10", "r8", "r9"), (*arguments, 0, 0, 0, 0, 0, 0), strict=False
        ):
            setattr(registers, register, value & _ALL_SIGNALS)
        registers.rsp = self._frame
        registers.rip = self._call + 2
        registers.orig_rax = number
        syscall.set_registers(self.tid, registers)
        self._on_step(f"{name}: entered")
        self._to_syscall_stop()
        result = int(syscall.get_registers(self.tid).rax)
        self._on_step(f"{name}: done")
        if error := x86_64.error_of(result):
            raise CallFailed(error, name, self.pid)
        return result

    def _to_syscall_stop(self) -> None:
        sig = 0
        while True:
            syscall.cont_to_syscall(self.tid, sig)
            left = max(_LEAST_SECONDS, self._deadline - time.monotonic())
            status = wait_stop(self.pid, self.tid, min(_CALL_SECONDS, left))
            stop = os.WSTOPSIG(status)
            if stop == syscall.CALL_STOP:
                return
            # SIGSTOP cannot be blocked, nor can a fault of our making: pass it on. A group stop we step over; it is
            # in force again once we let go.
            sig = stop if status >> 16 == 0 else 0


def wait_stop(pid: int, tid: int, seconds: float) -> int:
    """Wait for a ptrace stop and return its wait status. Raises NoProcess when the thread ended, Busy when it takes too
    long."""
    try:
        status = wait_while_ours(tid, seconds)
    except TimeoutError as problem:
        raise Busy(
            f"pid {pid}: thread {tid} does not stop",
            "try again when it has left the kernel",
            reason=Reason.BUSY_NOT_STOPPED,
        ) from problem
    if status is None or not os.WIFSTOPPED(status):
        raise NoProcess(pid, f"thread {tid} ended during the work", reason=Reason.ENDED_DURING_WORK)
    return status


@contextmanager
def borrow(tracee: Tracee, maps: Maps, on_step: OnStep = no_step, deadline: float = math.inf) -> Iterator[Borrowed]:
    """Borrow a thread. Other threads run on. No call is waited for beyond `deadline` (time.monotonic). Raises
    NoProcess, NoPermission, AlreadyTraced, Busy, Unsupported."""
    pid = tracee.pid
    if "shstk" in read_status(pid).features:
        raise Unsupported(
            f"pid {pid}: runs with a shadow stack",
            "start it with GLIBC_TUNABLES=glibc.cpu.hwcaps=-SHSTK",
            reason=Reason.SHADOW_STACK,
        )
    gadgets = find_gadgets(tracee.via, maps)
    if not gadgets.are_there:
        refuse_unsettled(tracee, maps)
        gadgets.require(pid)
    tried: list[str] = []
    stuck = dispatched = 0
    hurried = lending()
    for tid in _candidates_anew(tracee, tried):
        if tid not in tracee.kept and not _seize(pid, tid):
            continue
        original: Registers | None = None
        mask: int | None = None
        used: StackRoom | None = None
        try:
            if not tracee.has_thread(tid):  # its number was another's by then
                continue
            on_step("borrow: seized")
            try:
                status = STOPPED if tid in tracee.kept else _stop(pid, tid, hurried)
            except (NoProcess, ProcessLookupError):  # a thread of short life: the next one
                continue
            except Busy:
                tried.append(f"thread {tid} does not stop")
                stuck += 1
                if stuck == _MOST_STUCK:  # each takes a second: all of them are, as in a frozen process
                    raise
                continue
            on_step("borrow: stopped")
            original = syscall.get_registers(tid)
            repair_interrupted(tid, original, status)
            xstate = syscall.get_register_set(tid, syscall.NT_X86_XSTATE)
            why = _unfit(tracee.via, tid, original)
            size = len(xstate) + _ROOM_BESIDE_STATE
            usable = _dispatched(tid, gadgets)
            if usable is None:
                why = f"{_USER_DISPATCH} and would get SIGSYS for a call of ours"
                dispatched += 1
            room = (
                None if why or usable is None else find_room(tracee.via, tid, is_main_thread(tid), original, maps, size)
            )
            if room is None or usable is None:
                tried.append(f"thread {tid} {why or 'has no room on its stack that is surely free'}")
                continue
            _suspend_seccomp(pid, tid)
            mask = syscall.get_signal_mask(tid)
            frame = x86_64.signal_frame(
                room.top, x86_64.as_seen_by_sigreturn(original), xstate, mask, usable.returns[0]
            )
            _write_frame(tracee, tid, frame)
            used = room
            on_step("borrow: frame written")
            borrowed = Borrowed(tracee, tid, usable, original, frame.address, on_step, deadline)
            borrowed.rest()
            on_step("borrow: at rest")
            syscall.set_signal_mask(tid, _ALL_SIGNALS)
            on_step("borrow: signals blocked")
            yield borrowed
            return
        finally:
            _give_back(tracee, tid, original, mask, used, hurried)
            hurried.release()
            on_step("borrow: given back")
    tracee.check_same()
    if dispatched and dispatched == len(tried):
        raise Unsupported(
            f"pid {pid}: {_USER_DISPATCH}, as Wine does, so that no thread can be borrowed",
            RESTART,
            reason=Reason.SYSCALL_DISPATCH,
        )
    why = "; ".join(tried[:4] or _uninterruptible(tracee)) or "none could be stopped"
    raise Busy(
        f"pid {pid}: no thread can be borrowed now ({why})",
        "try again, or give more time: --timeout SECONDS",
        reason=Reason.BUSY_NO_THREAD,
    )


def _uninterruptible(tracee: Tracee) -> list[str]:
    for tid in tracee.threads():
        with suppress(NoProcess):
            if read_stat(tracee.pid, tid).state == "D":
                return [f"thread {tid} {why_uninterruptible(tracee.pid, tid)}"]
    return []


def _write_frame(tracee: Tracee, tid: int, frame: SignalFrame) -> None:
    """Write the frame, and prove that what was written is the memory of this very thread: a random number that is put
    below the frame is read back through the thread. It stands still, so from then on its memory stays the same. Raises
    NoProcess.

    Everything that was found out about the memory before is then about the memory that the thread has, since a process
    never comes back to one that it has left by execve.
    """
    proof = os.urandom(16)
    start = frame.address - _SCRATCH
    memory.write(tracee.pid, tracee.memory, Address(start), proof + bytes(_SCRATCH - len(proof)) + frame.data)
    if memory.try_read(tid, Address(start), len(proof)) != proof:
        raise executed(tracee.pid)
    tracee.check_same()


def _seize(pid: int, tid: int) -> bool:
    """Attach. False when the thread is gone."""
    try:
        syscall.seize(tid, syscall.PTRACE_O_TRACESYSGOOD)
    except ProcessLookupError:
        return False
    except PermissionError as problem:
        why = refusal(pid, tid)
        if why is None:
            return False
        raise why from problem
    return True


def refusal(pid: int, tid: int) -> AlreadyTraced | NoPermission | None:
    """Why PTRACE_SEIZE said EPERM; None when the thread has merely ended."""
    try:
        status = read_status(pid, tid)
        if status.tracer:
            return AlreadyTraced(pid, status.tracer)
        if read_stat(pid, tid).state not in "ZX":
            os.close(open_file(tid, "mem", "its memory may not be written", os.O_RDWR))  # asks for the same right
    except NoPermission as why:
        return why
    except NoProcess:
        pass
    return None


def _stop(pid: int, tid: int, hurried: Lending) -> int:
    """Interrupt, and deliver signals met on the way, until the thread is in an event stop."""
    hurried.prepare()
    syscall.interrupt(tid)
    hurried.begin((tid,))
    while True:
        status = wait_stop(pid, tid, _STOP_SECONDS)
        if status >> 16 == syscall.PTRACE_EVENT_STOP:
            return status
        syscall.cont(tid, os.WSTOPSIG(status) if status >> 16 == 0 else 0)


def _give_back(
    tracee: Tracee,
    tid: int,
    original: Registers | None,
    mask: int | None,
    used: StackRoom | None,
    hurried: Lending,
) -> None:
    """Registers, signal mask, a mark where the frame was, what it was lent, detach. A thread that has ended meanwhile
    needs nothing."""
    pid = tracee.pid
    try:
        with suppress(ProcessLookupError, NoProcess, Busy):
            if mask is not None and original is not None:
                _back_to_signal_code(pid, tid)
                syscall.set_signal_mask(tid, mask)
                if x86_64.swaps_mask(original):
                    x86_64.repeat_call(original)
            if original is not None:
                syscall.set_registers(tid, original)
                if used is not None and used.start:
                    with suppress(SutureError):  # pages that are not known again cost nothing but the pages
                        _mark(tracee, used)
    finally:
        hurried.end_all()
    if tid in tracee.kept:
        return
    try:
        syscall.detach(tid)
    except ProcessLookupError:  # it runs, or has ended
        detach_running(tid)
        sweep([pid])


def _back_to_signal_code(pid: int, tid: int) -> None:
    """To a stop inside the kernel's signal code, where it looks at orig_rax once more. A call of ours that has not
    returned is interrupted: its end is a stop too, and any stop takes the place of one that was asked for
    (kernel/signal.c, ptrace_stop)."""
    stands = False
    with suppress(ProcessLookupError):
        syscall.get_registers(tid)
        stands = True
    while True:
        syscall.interrupt(tid)
        if stands:
            syscall.cont(tid)
        if wait_stop(pid, tid, _BACK_SECONDS) >> 16 == syscall.PTRACE_EVENT_STOP:
            return
        stands = True


def _dispatched(tid: int, gadgets: Gadgets) -> Gadgets | None:
    """With what the thread can make calls in spite of Syscall User Dispatch, which turns those from other places than
    its own into SIGSYS while its selector says so, before any tracer is asked. Kept with signals blocked, such a SIGSYS
    would kill. None when it cannot."""
    try:
        dispatch = syscall.get_user_dispatch(tid)
    except OSError as problem:
        if problem.errno != errno.EIO:
            raise
        # Linux 5.11 to 6.3 have it and do not tell. Without a handler of SIGSYS it is of no use; a seccomp filter is
        # the other reason for one
        status = read_status(tid)
        return None if status.caught & 1 << (signal.SIGSYS - 1) and not status.seccomp else gadgets
    if dispatch is None:
        return gadgets
    selector, start, size = dispatch
    if selector and memory.try_read(tid, Address(selector), 1) == _DISPATCH_ALLOW:
        return gadgets
    own = gadgets_within(tid, start, size)
    return own if own.call and own.returns else None


def _suspend_seccomp(pid: int, tid: int) -> None:
    if read_status(pid, tid).seccomp == 0:
        return
    try:
        syscall.set_options(tid, syscall.PTRACE_O_TRACESYSGOOD | syscall.PTRACE_O_SUSPEND_SECCOMP)
    except PermissionError as problem:
        raise NoPermission(
            pid, "runs under seccomp, which only CAP_SYS_ADMIN may suspend", reason=Reason.DENIED_SECCOMP
        ) from problem
    except OSError as problem:
        if problem.errno != errno.EINVAL:
            raise
        raise Unsupported(
            f"pid {pid}: runs under seccomp, and this kernel cannot suspend it (CONFIG_CHECKPOINT_RESTORE)",
            RESTART,
            reason=Reason.SECCOMP,
        ) from problem


def _candidates_anew(tracee: Tracee, tried: list[str]) -> Iterator[int]:
    """Threads to try, listed again while all of them had ended by the time that it was their turn (none is in
    `tried`)."""
    for _ in range(_LISTINGS):
        yield from _candidates(tracee)
        if tried:
            return


def _candidates(tracee: Tracee) -> list[int]:
    """Threads, those first that can be disturbed least: blocked in a call that simply restarts."""
    ranked = []
    for tid in tracee.threads()[:4096]:
        try:
            with open(f"/proc/{tracee.pid}/task/{tid}/syscall", "rb") as file:
                first = file.read(64).split()
            state = read_stat(tracee.pid, tid).state
        except (OSError, NoProcess):
            continue
        if state in "DZX":
            continue
        number = int(first[0]) if first and first[0].lstrip(b"-").isdigit() else -1
        rank = (
            3 if number < 0 else 2 if number in x86_64.SWAPS_SIGNAL_MASK else 1 if number in _RESTART_BLOCK_CALLS else 0
        )
        ranked.append((rank, tid != tracee.pid, tid))
        if len(ranked) >= 64 and rank == 0:
            break
    return [tid for _, _, tid in sorted(ranked)][:64]


def _mark(tracee: Tracee, room: StackRoom) -> None:
    """The thread stands still and does not need our frame any more; the next time its pages are known by the mark."""
    memory.write(tracee.pid, tracee.memory, Address(room.start), MARK * ((room.end - room.start) // len(MARK)))


def _unfit(pid: int, tid: int, registers: Registers) -> str:
    """Why this thread cannot be borrowed where it stands; empty when it can."""
    if registers.cs != x86_64.USER_CODE_SEGMENT:
        return "runs 32-bit code"
    if not x86_64.in_syscall(registers):
        area = syscall.get_rseq_area(tid)
        # struct rseq: rseq_cs at 8. A section cut in two by foreign code would not be restarted.
        if area and memory.try_read(pid, Address(area + 8), 8) not in (b"", bytes(8)):
            return "is inside a restartable sequence"
    return ""
