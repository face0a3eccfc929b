"""The one module with raw system calls. Each wrapper is named after its call and raises OSError with the call's errno.

ptrace(2), waitpid(2), process_vm_readv(2), process_vm_writev(2), kcmp(2), pidfd_open(2), timer_create(2), openat2(2),
perf_event_open(2), futex(2), tgkill(2), capset(2), seccomp(2). Numbers that differ by machine are in `x86_64`.
"""

from __future__ import annotations

import ctypes
import errno
import fcntl
import mmap
import os
import signal
import struct
import time
from array import array
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from suture.process import x86_64

PTRACE_CONT = 7
PTRACE_GETREGS = 12
PTRACE_SETREGS = 13
PTRACE_DETACH = 17
PTRACE_SYSCALL = 24
PTRACE_SETOPTIONS = 0x4200
PTRACE_GETEVENTMSG = 0x4201
PTRACE_GETSIGINFO = 0x4202
PTRACE_GETREGSET = 0x4204
PTRACE_SEIZE = 0x4206
PTRACE_INTERRUPT = 0x4207
PTRACE_PEEKSIGINFO = 0x4209
PTRACE_GETSIGMASK = 0x420A
PTRACE_SETSIGMASK = 0x420B
PTRACE_SECCOMP_GET_FILTER = 0x420C
PTRACE_GET_RSEQ_CONFIGURATION = 0x420F
PTRACE_GET_SYSCALL_USER_DISPATCH_CONFIG = 0x4211

PTRACE_O_TRACESYSGOOD = 0x01
PTRACE_O_TRACEFORK = 0x02
PTRACE_O_TRACEVFORK = 0x04
PTRACE_O_TRACECLONE = 0x08
PTRACE_O_SUSPEND_SECCOMP = 1 << 21

PTRACE_EVENT_FORK = 1
PTRACE_EVENT_VFORK = 2
PTRACE_EVENT_CLONE = 3
PTRACE_EVENT_STOP = 128
CALL_STOP = signal.SIGTRAP | 0x80  # what WSTOPSIG gives at the begin and end of a call, with PTRACE_O_TRACESYSGOOD

PTRACE_PEEKSIGINFO_SHARED = 1
WALL = 0x40000000
NT_X86_XSTATE = 0x202
IOV_MAX = 1024
KCMP_VM = 1
_SIGEV_THREAD_ID = 4
_SYS_OPENAT2 = 437  # the same on every machine
WAKE_SIGNAL = int(signal.SIGRTMAX) - 3

# PyDLL keeps the interpreter lock: right and faster for calls that never block. CDLL gives it up for those that do.
_quick = ctypes.PyDLL(None, use_errno=True)
_slow = ctypes.CDLL(None, use_errno=True)

_ptrace = _quick.ptrace
_ptrace.restype = ctypes.c_long
_ptrace.argtypes = [ctypes.c_long, ctypes.c_long, ctypes.c_void_p, ctypes.c_void_p]
_ptrace_slow = _slow.ptrace
_ptrace_slow.restype = ctypes.c_long
_ptrace_slow.argtypes = [ctypes.c_long, ctypes.c_long, ctypes.c_void_p, ctypes.c_void_p]
_waitpid = _slow.waitpid
_waitpid.argtypes = [ctypes.c_int, ctypes.c_void_p, ctypes.c_int]
_waitpid_now = _quick.waitpid
_waitpid_now.argtypes = [ctypes.c_int, ctypes.c_void_p, ctypes.c_int]
_readv = _quick.process_vm_readv
_readv.restype = ctypes.c_ssize_t
_readv.argtypes = [ctypes.c_int, ctypes.c_void_p, ctypes.c_ulong, ctypes.c_void_p, ctypes.c_ulong, ctypes.c_ulong]
_writev = _quick.process_vm_writev
_writev.restype = ctypes.c_ssize_t
_writev.argtypes = _readv.argtypes
_kcmp = ctypes.PyDLL(None, use_errno=True).syscall  # a second one, for its own types
_kcmp.restype = ctypes.c_long
_kcmp.argtypes = [ctypes.c_long] * 6
_ORDER = (0, -1, 1, 1)  # equal, less, greater, different
_syscall = _quick.syscall
_syscall.restype = ctypes.c_long
_syscall_slow = _slow.syscall
_syscall_slow.restype = ctypes.c_long


class Registers(ctypes.Structure):
    """struct user_regs_struct: 27 words of 8 bytes."""

    _fields_ = tuple((name, ctypes.c_uint64) for name in x86_64.REGISTER_NAMES)


class RegisterRows:
    """Room for the registers of `count` threads, one behind the other, made before a stop so that nothing is made in
    it."""

    def __init__(self, count: int) -> None:
        self._block = (ctypes.c_uint64 * (x86_64.WORDS * count))()
        base, size = ctypes.addressof(self._block), ctypes.sizeof(Registers)
        self.places = [ctypes.c_void_p(base + n * size) for n in range(count)]
        """What `ptrace_fast` takes as data, for each row."""

    def __len__(self) -> int:
        return len(self.places)

    def words(self, count: int) -> memoryview[int]:
        """The words of the first `count` rows, as they are now and will be."""
        return memoryview(self._block).cast("B").cast("Q")[: count * x86_64.WORDS]

    def row(self, index: int) -> Registers:
        """One row itself, not a copy."""
        return Registers.from_buffer(self._block, index * ctypes.sizeof(Registers))


def status_cell() -> tuple[ctypes.c_int, ctypes.c_void_p]:
    """An int for a status, its `value` 0, and what `waitpid_fast` takes to fill it in."""
    cell = ctypes.c_int()
    return cell, ctypes.c_void_p(ctypes.addressof(cell))


def address_of(buffer: bytearray | array[int] | mmap.mmap) -> int:
    """Where a buffer of ours lies, for as long as it lives and keeps its size."""
    size = memoryview(buffer).nbytes
    return ctypes.addressof((ctypes.c_char * size).from_buffer(buffer))


class Iovec(ctypes.Structure):
    """struct iovec."""

    _fields_ = (("iov_base", ctypes.c_void_p), ("iov_len", ctypes.c_size_t))


class _PeekArgs(ctypes.Structure):
    _fields_ = (("off", ctypes.c_uint64), ("flags", ctypes.c_uint32), ("nr", ctypes.c_int32))


class _Sigevent(ctypes.Structure):
    _fields_ = (
        ("sigev_value", ctypes.c_void_p),
        ("sigev_signo", ctypes.c_int),
        ("sigev_notify", ctypes.c_int),
        ("tid", ctypes.c_int),
        ("_pad", ctypes.c_char * 44),
    )


class _Itimerspec(ctypes.Structure):
    _fields_ = (
        ("interval_s", ctypes.c_long),
        ("interval_ns", ctypes.c_long),
        ("s", ctypes.c_long),
        ("ns", ctypes.c_long),
    )


class _Sigaction(ctypes.Structure):
    _fields_ = (
        ("handler", ctypes.c_void_p),
        ("mask", ctypes.c_ubyte * 128),
        ("flags", ctypes.c_int),
        ("restorer", ctypes.c_void_p),
    )


def _fail(call: str) -> OSError:
    number = ctypes.get_errno()
    return OSError(number, f"{call}: {os.strerror(number)}")


def ptrace(request: int, tid: int, address: int = 0, data: int = 0) -> int:
    """ptrace(2); `address` and `data` are passed as they are."""
    result: int = _ptrace(request, tid, address, data)
    if result == -1:
        raise _fail("ptrace")
    return result


# Without types to convert to and without errno a call takes half the time. An int is passed as a C int then.
_bare = ctypes.PyDLL(None)
_bare_slow = ctypes.CDLL(None)

ptrace_fast = _bare.ptrace
"""ptrace(2) for the pause: request, tid, and address and data as None, an int of 32 bits, or a c_void_p. -1 on failure,
no errno."""

waitpid_fast = _bare_slow.waitpid
"""waitpid(2) for the pause: tid, a c_void_p to an int, options. -1 on failure, no errno."""


def seize(tid: int, options: int = 0) -> None:
    """PTRACE_SEIZE. Without the interpreter lock, because it waits for an execve under way (ptrace_attach takes
    cred_guard_mutex)."""
    if _ptrace_slow(PTRACE_SEIZE, tid, None, options) == -1:
        raise _fail("ptrace")


def interrupt(tid: int) -> None:
    ptrace(PTRACE_INTERRUPT, tid)


def cont(tid: int, sig: int = 0) -> None:
    ptrace(PTRACE_CONT, tid, 0, sig)


def cont_to_syscall(tid: int, sig: int = 0) -> None:
    """PTRACE_SYSCALL: go on until the next entry to or exit from a system call."""
    ptrace(PTRACE_SYSCALL, tid, 0, sig)


def detach(tid: int, sig: int = 0) -> None:
    ptrace(PTRACE_DETACH, tid, 0, sig)


def set_options(tid: int, options: int) -> None:
    ptrace(PTRACE_SETOPTIONS, tid, 0, options)


def get_event_message(tid: int) -> int:
    message = ctypes.c_ulong()
    ptrace(PTRACE_GETEVENTMSG, tid, 0, ctypes.addressof(message))
    return message.value


def get_registers(tid: int) -> Registers:
    registers = Registers()
    ptrace(PTRACE_GETREGS, tid, 0, ctypes.addressof(registers))
    return registers


def set_registers(tid: int, registers: Registers) -> None:
    ptrace(PTRACE_SETREGS, tid, 0, ctypes.addressof(registers))


def get_register_set(tid: int, kind: int, room: int = 32768) -> bytes:
    """PTRACE_GETREGSET: the bytes of register set `kind` (NT_*), at most `room`."""
    buffer = ctypes.create_string_buffer(room)
    iov = Iovec(ctypes.addressof(buffer), room)
    ptrace(PTRACE_GETREGSET, tid, kind, ctypes.addressof(iov))
    return buffer.raw[: iov.iov_len]


_own = _PeekArgs(0, 0, 1)
_shared = _PeekArgs(0, PTRACE_PEEKSIGINFO_SHARED, 1)
_peeked = ctypes.create_string_buffer(128)  # what the kernel puts there is not looked at


PEEK_OWN = (PTRACE_PEEKSIGINFO, ctypes.c_void_p(ctypes.addressof(_own)), ctypes.c_void_p(ctypes.addressof(_peeked)))
"""Request, address and data for `ptrace_fast`: 0 when no signal waits for the thread. For the pause."""


def has_pending(tid: int, shared: bool) -> bool:
    """PTRACE_PEEKSIGINFO: whether a signal waits for the thread, or with `shared` for its process."""
    arguments = _shared if shared else _own
    return ptrace(PTRACE_PEEKSIGINFO, tid, ctypes.addressof(arguments), ctypes.addressof(_peeked)) > 0


def get_signal_code(tid: int) -> int:
    """PTRACE_GETSIGINFO: the si_code of the signal that a thread has stopped with."""
    information = ctypes.create_string_buffer(128)
    ptrace(PTRACE_GETSIGINFO, tid, 0, ctypes.addressof(information))
    return int.from_bytes(information.raw[8:12], "little", signed=True)


def get_signal_mask(tid: int) -> int:
    mask = ctypes.c_uint64()
    ptrace(PTRACE_GETSIGMASK, tid, 8, ctypes.addressof(mask))
    return mask.value


def set_signal_mask(tid: int, mask: int) -> None:
    value = ctypes.c_uint64(mask)
    ptrace(PTRACE_SETSIGMASK, tid, 8, ctypes.addressof(value))


def get_rseq_area(tid: int) -> int:
    """PTRACE_GET_RSEQ_CONFIGURATION (Linux 5.13): address of the thread's struct rseq, 0 for none or an older
    kernel."""
    buffer = ctypes.create_string_buffer(24)
    try:
        ptrace(PTRACE_GET_RSEQ_CONFIGURATION, tid, 24, ctypes.addressof(buffer))
    except OSError as problem:
        if problem.errno in (errno.EIO, errno.EINVAL):
            return 0
        raise
    return int.from_bytes(buffer.raw[:8], "little")


def get_user_dispatch(tid: int) -> tuple[int, int, int] | None:
    """PTRACE_GET_SYSCALL_USER_DISPATCH_CONFIG (Linux 6.4): of a thread that has Syscall User Dispatch on, the address
    of its selector byte (0 for none), and start and length of the code whose calls go through. None when it is off.

    Raises OSError: EIO on a kernel that has the feature (5.11) and not this request.
    """
    buffer = ctypes.create_string_buffer(32)  # mode, selector, offset, len
    ptrace(PTRACE_GET_SYSCALL_USER_DISPATCH_CONFIG, tid, 32, ctypes.addressof(buffer))
    mode, selector, offset, size = struct.unpack("<4Q", buffer.raw)
    return (selector, offset, size) if mode else None


def get_seccomp_filter(tid: int, index: int) -> list[tuple[int, int, int, int]]:
    """PTRACE_SECCOMP_GET_FILTER: a filter's instructions (code, jt, jf, k), index 0 for the one that was installed
    last. Raises FileNotFoundError beyond the first that was installed, else OSError (EACCES without CAP_SYS_ADMIN)."""
    count = ptrace(PTRACE_SECCOMP_GET_FILTER, tid, index, 0)
    buffer = ctypes.create_string_buffer(8 * count)
    ptrace(PTRACE_SECCOMP_GET_FILTER, tid, index, ctypes.addressof(buffer))
    return list(struct.iter_unpack("<HBBI", buffer.raw))


def waitpid(tid: int, block: bool = True) -> tuple[int, int]:
    """waitpid(2) with __WALL: (tid, status), (0, 0) when not blocking and nothing is there.

    Raises InterruptedError when a `wake_after` timer went off, ChildProcessError for a tid that is no tracee.
    """
    status = ctypes.c_int()
    if block:
        result: int = _waitpid(tid, ctypes.addressof(status), WALL)
    else:
        result = _waitpid_now(tid, ctypes.addressof(status), WALL | os.WNOHANG)
    if result == -1:
        raise _fail("waitpid")
    return result, status.value


@contextmanager
def wake_after(seconds: float) -> Iterator[None]:
    """Inside, a blocking `waitpid` of this thread raises InterruptedError once the time is over.

    A POSIX timer sends this thread a signal whose handler does nothing (getpid), repeatedly, so that a signal just
    before the call is not lost. No Python handler is needed, so this works in any thread.
    """
    install_wake_handler()
    event = _Sigevent(None, WAKE_SIGNAL, _SIGEV_THREAD_ID, _syscall(ctypes.c_long(x86_64.SYS_GETTID)))
    timer = ctypes.c_int()
    if _syscall(ctypes.c_long(x86_64.SYS_TIMER_CREATE), ctypes.c_long(1), ctypes.byref(event), ctypes.byref(timer)):
        raise _fail("timer_create")
    try:
        nanoseconds = max(int(seconds * 1e9), 1)
        when = _Itimerspec(0, 2_000_000, nanoseconds // 10**9, nanoseconds % 10**9)
        if _syscall(
            ctypes.c_long(x86_64.SYS_TIMER_SETTIME),
            ctypes.c_long(timer.value),
            ctypes.c_long(0),
            ctypes.byref(when),
            None,
        ):
            raise _fail("timer_settime")
        yield
    finally:
        _syscall(ctypes.c_long(x86_64.SYS_TIMER_DELETE), ctypes.c_long(timer.value))


# linux/futex.h
_FUTEX_WAKE = 1
FUTEX_WAITERS = 0x80000000


def futex_wake(address: int) -> None:
    """FUTEX_WAKE of all who wait for a word of shared memory."""
    number, most = ctypes.c_long(x86_64.SYS_FUTEX), ctypes.c_long(0x7FFFFFFF)
    _syscall(number, ctypes.c_void_p(address), ctypes.c_long(_FUTEX_WAKE), most, None, None, ctypes.c_long(0))


_bare_code: mmap.mmap | None = None
_BARE_STACK = 65536  # for the frame of a signal with all of the processor's state
_PTHREAD_EXPLICIT_SCHED = 1


def start_bare(argument: int, priority: int) -> int:
    """A thread with SCHED_FIFO that executes x86_64.LENDER and never has the interpreter, so that nobody who needs the
    interpreter ever waits for it. Its number in `join_bare`. Raises OSError where that is not allowed
    (pthread_create(3), mprotect(2))."""
    global _bare_code  # noqa: PLW0603  the same few bytes for all threads
    if _bare_code is None:
        install_wake_handler()
        code = mmap.mmap(-1, mmap.PAGESIZE, mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
        code[: len(x86_64.LENDER)] = x86_64.LENDER
        place = ctypes.c_void_p(address_of(code))
        if _quick.mprotect(place, ctypes.c_size_t(mmap.PAGESIZE), mmap.PROT_READ | mmap.PROT_EXEC):
            raise _fail("mprotect")
        _bare_code = code
    attributes, parameter, thread = (ctypes.c_uint64 * 8)(), ctypes.c_int(priority), ctypes.c_ulong()
    at = ctypes.byref(attributes)
    _quick.pthread_attr_init(at)
    _quick.pthread_attr_setstacksize(at, ctypes.c_size_t(_BARE_STACK))
    _quick.pthread_attr_setinheritsched(at, _PTHREAD_EXPLICIT_SCHED)
    _quick.pthread_attr_setschedpolicy(at, os.SCHED_FIFO)
    _quick.pthread_attr_setschedparam(at, ctypes.byref(parameter))
    before = signal.pthread_sigmask(signal.SIG_BLOCK, (s for s in signal.valid_signals() if s != WAKE_SIGNAL))
    try:
        code_at, data = ctypes.c_void_p(address_of(_bare_code)), ctypes.c_void_p(argument)
        error = _quick.pthread_create(ctypes.byref(thread), at, code_at, data)
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)
        _quick.pthread_attr_destroy(at)
    if error:
        raise OSError(error, f"pthread_create: {os.strerror(error)}")
    return thread.value


def join_bare(thread: int, seconds: float) -> bool:
    """Whether a thread of `start_bare` ended within `seconds` (pthread_timedjoin_np(3)). Its number is void then."""
    until = time.time() + seconds
    when = (ctypes.c_long * 2)(int(until), int(until % 1 * 1e9))
    return bool(_slow.pthread_timedjoin_np(ctypes.c_ulong(thread), None, ctypes.byref(when)) == 0)


def tgkill(pid: int, tid: int, sig: int) -> None:
    """tgkill(2). A thread that has ended is no error."""
    _syscall(*[ctypes.c_long(v) for v in (x86_64.SYS_TGKILL, pid, tid, sig)])


_wake_handler_installed = False


def install_wake_handler() -> None:
    """For `WAKE_SIGNAL`, a handler that does nothing."""
    global _wake_handler_installed  # noqa: PLW0603  one signal disposition per process
    if _wake_handler_installed:
        return
    action = _Sigaction(ctypes.cast(_quick.getpid, ctypes.c_void_p).value, (ctypes.c_ubyte * 128)(), 0, None)
    if _quick.sigaction(WAKE_SIGNAL, ctypes.byref(action), None):
        raise _fail("sigaction")
    _wake_handler_installed = True


_SIGNAL_SET = ctypes.c_ubyte * 128  # sigset_t of glibc, bit n-1 for signal n
_HELD_SIGNALS = _SIGNAL_SET.from_buffer_copy(
    sum(1 << (s - 1) for s in signal.valid_signals() if s != WAKE_SIGNAL).to_bytes(128, "little")
)


@contextmanager
def signals_held() -> Iterator[None]:
    """Inside, this thread takes no signal but SIGKILL, SIGSTOP and the timer's: Ctrl-C waits until the target runs
    again."""
    before = _SIGNAL_SET()  # Python's own function makes a set of 64 names of it, each time
    _quick.pthread_sigmask(signal.SIG_BLOCK, ctypes.byref(_HELD_SIGNALS), ctypes.byref(before))
    try:
        yield
    finally:
        _quick.pthread_sigmask(signal.SIG_SETMASK, ctypes.byref(before), None)


def process_vm_readv(pid: int, address: int, size: int) -> bytes:
    """Up to `size` bytes at `address`; fewer when the rest is not mapped. Raises OSError when nothing could be read."""
    buffer = ctypes.create_string_buffer(size)
    local = Iovec(ctypes.addressof(buffer), size)
    remote = Iovec(address, size)
    count: int = _readv(pid, ctypes.addressof(local), 1, ctypes.addressof(remote), 1, 0)
    if count < 0:
        raise _fail("process_vm_readv")
    return buffer.raw[:count]


def process_vm_readv_into(pid: int, base: int, ranges: array[int]) -> int:
    """Read ranges (address, size, address, size, ... as an array of type Q) one behind the other to our address `base`,
    in as few calls as can be. Returns the bytes read: short at the first range that is not wholly mapped."""
    done = 0
    start = ranges.buffer_info()[0]
    count_of_ranges = len(ranges) // 2
    for first in range(0, count_of_ranges, IOV_MAX):
        part = min(IOV_MAX, count_of_ranges - first)
        wanted = sum(ranges[2 * first + 1 : 2 * (first + part) : 2])
        local = Iovec(base + done, wanted)
        count: int = _readv(pid, ctypes.addressof(local), 1, start + 16 * first, part, 0)
        if count < 0:
            if ctypes.get_errno() == errno.EFAULT:
                break
            raise _fail("process_vm_readv")
        done += count
        if count < wanted:
            break
    return done


def process_vm_writev(pid: int, writes: Sequence[tuple[int, bytes]]) -> int:
    """Write to (address, bytes) of memory that is writable there, at most IOV_MAX, in one call. Returns the bytes
    written: short at the first place that cannot be. Raises OSError when there is none."""
    local, remote = (Iovec * len(writes))(), (Iovec * len(writes))()
    kept = [ctypes.create_string_buffer(data, len(data)) for _, data in writes]
    for n, (address, data) in enumerate(writes):
        local[n] = Iovec(ctypes.addressof(kept[n]), len(data))
        remote[n] = Iovec(address, len(data))
    count: int = _writev(pid, ctypes.addressof(local), len(writes), ctypes.addressof(remote), len(writes), 0)
    if count < 0:
        raise _fail("process_vm_writev")
    return count


def kcmp_same_memory(pid: int, other: int) -> bool:
    """kcmp(2) KCMP_VM. Raises OSError (EPERM, ESRCH, ENOSYS)."""
    order: int = _kcmp(x86_64.SYS_KCMP, pid, other, KCMP_VM, 0, 0)
    if order == -1:
        raise _fail("kcmp")
    return order == 0


def kcmp_memory(pid: int, other: int) -> int | None:
    """kcmp(2) KCMP_VM: 0 for the same memory, else -1 or 1 in an order that holds while both have theirs. None when one
    of them has ended or may not be asked. Raises OSError (ENOSYS)."""
    order: int = _kcmp(x86_64.SYS_KCMP, pid, other, KCMP_VM, 0, 0)
    if order >= 0:
        return _ORDER[order]
    if ctypes.get_errno() in (errno.ESRCH, errno.EPERM, errno.EACCES):
        return None
    raise _fail("kcmp")


def finit_module(fd: int, parameters: bytes = b"") -> None:
    """finit_module(2): load an open kernel module."""
    if _syscall_slow(ctypes.c_long(x86_64.SYS_FINIT_MODULE), ctypes.c_long(fd), parameters, ctypes.c_long(0)):
        raise _fail("finit_module")


def delete_module(name: str, flags: int) -> None:
    """delete_module(2)."""
    if _syscall_slow(ctypes.c_long(x86_64.SYS_DELETE_MODULE), name.encode(), ctypes.c_long(flags)):
        raise _fail("delete_module")


def pidfd_open(pid: int) -> int:
    return os.pidfd_open(pid)


def is_there(pidfd: int) -> bool:
    """pidfd_send_signal(2) with no signal: whether its process has not been waited for yet."""
    try:
        signal.pidfd_send_signal(pidfd, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        pass
    return True


def is_in_use(mem: int) -> bool:
    """Whether a descriptor of /proc/PID/mem still leads to memory. It does not once every process that had this memory
    has ended or executed another program; then reading gives nothing, and no error either (fs/proc/base.c, mem_rw)."""
    try:
        return os.pread(mem, 1, 0) != b""
    except OSError:  # nothing is mapped at 0, as usual
        return True


def openat2(folder: int, path: bytes, flags: int, resolve: int) -> int:
    """A descriptor, closed on exec, of what `path` means beneath an open folder. `resolve`: RESOLVE_* of
    linux/openat2.h."""
    how = (ctypes.c_uint64 * 3)(flags | os.O_CLOEXEC, 0, resolve)
    fd = int(_slow.syscall(_SYS_OPENAT2, folder, path, how, ctypes.sizeof(how)))
    if fd < 0:
        raise _fail("openat2")
    return fd


# struct perf_event_attr and its flags (include/uapi/linux/perf_event.h): exclude_kernel, exclude_hv, remove_on_exec,
# sigtrap
_PERF_TYPE_BREAKPOINT, _HW_BREAKPOINT_X, _PERF_FLAG_FD_CLOEXEC = 5, 4, 8
_PERF_ATTR_SIZE = 128
_PERF_FLAGS = 1 << 5 | 1 << 6 | 1 << 36 | 1 << 37


def perf_breakpoint(tid: int, address: int) -> int:
    """perf_event_open(2): a descriptor that as long as it is open stops a thread with SIGTRAP before it executes what
    is at `address`."""
    attributes = struct.pack(
        "<IIQQQQQIIQQ",
        *(_PERF_TYPE_BREAKPOINT, _PERF_ATTR_SIZE, 0, 1, 0, 0, _PERF_FLAGS),
        *(0, _HW_BREAKPOINT_X, address, 8),
    ).ljust(_PERF_ATTR_SIZE, b"\0")
    words = [ctypes.c_long(v) for v in (tid, -1, -1, _PERF_FLAG_FD_CLOEXEC)]
    fd: int = _syscall(ctypes.c_long(x86_64.SYS_PERF_EVENT_OPEN), attributes, *words)
    if fd == -1:
        raise _fail("perf_event_open")
    return fd


_PERF_FLAG_INHERIT = 1 << 1


def perf_calls(kind: int, pid: int, path: bytes, offset: int) -> int:
    """perf_event_open(2): a descriptor from which the number can be read (8 bytes) of how often a process, with the
    threads that it starts, has executed what is at `offset` of a file. `kind` is the number of the kernel's uprobes
    (/sys/bus/event_source/devices/uprobe/type)."""
    name = ctypes.create_string_buffer(path)
    attributes = struct.pack(
        "<IIQQQQQIIQQ",
        *(kind, _PERF_ATTR_SIZE, 0, 0, 0, 0, _PERF_FLAG_INHERIT, 0, 0, ctypes.addressof(name), offset),
    ).ljust(_PERF_ATTR_SIZE, b"\0")
    words = [ctypes.c_long(v) for v in (pid, -1, -1, _PERF_FLAG_FD_CLOEXEC)]
    fd: int = _syscall(ctypes.c_long(x86_64.SYS_PERF_EVENT_OPEN), attributes, *words)
    if fd == -1:
        raise _fail("perf_event_open")
    return fd


_PERF_TYPE_TRACEPOINT, _PERF_SAMPLE_TID, _PERF_SAMPLE_RAW = 2, 1 << 1, 1 << 10
_PERF_EVENT_IOC_SET_FILTER = 0x40082406


def perf_tracepoint(number: int, cpu: int, only: str) -> int:
    """perf_event_open(2): a descriptor whose ring gets the thread and the record of each event of a tracepoint on a
    processor that `only` is true of (Documentation/trace/events.rst, event filtering), "" for all."""
    attributes = struct.pack(
        "<IIQQQQQIIQQ",
        *(_PERF_TYPE_TRACEPOINT, _PERF_ATTR_SIZE, number, 1, _PERF_SAMPLE_TID | _PERF_SAMPLE_RAW, 0, 0),
        *(1, 0, 0, 0),
    ).ljust(_PERF_ATTR_SIZE, b"\0")
    words = [ctypes.c_long(v) for v in (-1, cpu, -1, _PERF_FLAG_FD_CLOEXEC)]
    fd: int = _syscall(ctypes.c_long(x86_64.SYS_PERF_EVENT_OPEN), attributes, *words)
    if fd == -1:
        raise _fail("perf_event_open")
    try:
        if only:
            fcntl.ioctl(fd, _PERF_EVENT_IOC_SET_FILTER, only.encode() + b"\0")
    except OSError:
        os.close(fd)
        raise
    return fd


_PR_SET_PDEATHSIG = 1  # linux/prctl.h


def end_with_parent() -> None:
    """prctl(2), PR_SET_PDEATHSIG: SIGKILL when the thread that forked us ends."""
    if _quick.prctl(_PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0):
        raise _fail("prctl")


_PR_SET_NO_NEW_PRIVS = 38


def no_new_privileges() -> None:
    """prctl(2), PR_SET_NO_NEW_PRIVS."""
    if _quick.prctl(_PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0):
        raise _fail("prctl")


_CAPABILITY_VERSION = 0x20080522  # linux/capability.h, _LINUX_CAPABILITY_VERSION_3
_CAPABILITIES = struct.Struct("<6I")  # effective, permitted, inheritable of the lower 32 bits, then of the higher


def get_capabilities() -> int:
    """capget(2): the permitted capabilities of this thread, a bit each."""
    head, data = struct.pack("<Ii", _CAPABILITY_VERSION, 0), ctypes.create_string_buffer(_CAPABILITIES.size)
    if _syscall(ctypes.c_long(x86_64.SYS_CAPGET), head, data):
        raise _fail("capget")
    _, low, _, _, high, _ = _CAPABILITIES.unpack(data.raw)
    return int(high << 32 | low)


def set_capabilities(kept: int) -> None:
    """capset(2): these are permitted and in effect from now on, and none is inherited."""
    low, high = kept & 0xFFFFFFFF, kept >> 32
    head = struct.pack("<Ii", _CAPABILITY_VERSION, 0)
    if _syscall(ctypes.c_long(x86_64.SYS_CAPSET), head, _CAPABILITIES.pack(low, low, 0, high, high, 0)):
        raise _fail("capset")


_SECCOMP_SET_MODE_FILTER, _SECCOMP_FILTER_FLAG_NEW_LISTENER = 1, 1 << 3  # linux/seccomp.h


def seccomp_filter(program: Sequence[tuple[int, int, int, int]], *, listener: bool) -> int:
    """seccomp(2): a filter (code, jt, jf, k of each row) for this thread and what it forks. With `listener` its
    descriptor, closed on exec; else -1."""
    rows = b"".join(struct.pack("<HBBI", *row) for row in program)
    code = ctypes.create_string_buffer(rows, len(rows))
    filtering = struct.pack("<H6xQ", len(program), ctypes.addressof(code))  # struct sock_fprog
    flags = _SECCOMP_FILTER_FLAG_NEW_LISTENER if listener else 0
    words = [ctypes.c_long(v) for v in (x86_64.SYS_SECCOMP, _SECCOMP_SET_MODE_FILTER, flags)]
    found: int = _syscall(*words, filtering)
    if found == -1:
        raise _fail("seccomp")
    return found if listener else -1


# linux/fanotify.h
_FAN_CLASS_CONTENT, _FAN_CLOEXEC, _FAN_NONBLOCK, _FAN_REPORT_TID = 0x04, 0x01, 0x02, 0x100
FAN_MARK_ADD = 0x01
FAN_OPEN_PERM, FAN_OPEN_EXEC_PERM = 0x10000, 0x40000


def fanotify_init() -> int:
    """A group that is asked for permission, and told of threads; its descriptor does not block."""
    flags = _FAN_CLASS_CONTENT | _FAN_CLOEXEC | _FAN_NONBLOCK | _FAN_REPORT_TID
    fd: int = _syscall(ctypes.c_long(x86_64.SYS_FANOTIFY_INIT), ctypes.c_long(flags), ctypes.c_long(os.O_RDONLY))
    if fd == -1:
        raise _fail("fanotify_init")
    return fd


def fanotify_mark(group: int, flags: int, mask: int, file: int) -> None:
    """Mark the inode of an open file."""
    path = ctypes.c_char_p(f"/proc/self/fd/{file}".encode())
    words = [ctypes.c_long(v) for v in (group, flags)]
    if _syscall(ctypes.c_long(x86_64.SYS_FANOTIFY_MARK), *words, ctypes.c_uint64(mask), ctypes.c_long(-100), path):
        raise _fail("fanotify_mark")
