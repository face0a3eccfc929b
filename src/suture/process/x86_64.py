"""All that depends on the machine: registers, system call numbers, code bytes, the signal frame, restartable calls.

Sources: arch/x86/include/uapi/asm/{ptrace-abi,sigcontext,ucontext}.h, arch/x86/entry/syscalls/syscall_64.tbl,
arch/x86/kernel/{signal,signal_64}.c, arch/x86/kernel/fpu/signal.c, psABI 3.2.2 (red zone), signal(7), Intel SDM volume
2.
"""

from __future__ import annotations

import errno
import platform
import re
import struct
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from suture.error import Unsupported
from suture.refusal import RESTART
from suture.report.reason import Reason

if TYPE_CHECKING:
    from suture.process.syscall import Registers

RED_ZONE = 128
USER_CODE_SEGMENT = 0x33

AUDIT_ARCH = 0xC000003E  # linux/audit.h, AUDIT_ARCH_X86_64
SYS_MMAP = 9
SYS_MUNMAP = 11
SYS_CLOSE = 3
SYS_RT_SIGACTION = 13
SYS_RT_SIGRETURN = 15
SYS_GETTID = 186
SYS_RESTART_SYSCALL = 219
SYS_FUTEX = 202
SYS_TIMER_CREATE = 222
SYS_TIMER_SETTIME = 223
SYS_TIMER_DELETE = 226
SYS_TGKILL = 234
SYS_PERF_EVENT_OPEN = 298
SYS_FANOTIFY_INIT, SYS_FANOTIFY_MARK = 300, 301
SYS_CAPGET, SYS_CAPSET, SYS_SECCOMP = 125, 126, 317
# What a loader calls between opening a file and mapping its code: mprotect, munmap, brk, getcwd; and on the file
# itself: read, fstat, pread64, newfstatat, fcntl, statx.
OF_LOADERS = frozenset({10, 11, 12, 79})
OF_LOADERS_ON_FILE = frozenset({0, 5, 17, 72, 262, 332})
SYS_KCMP = 312
SYS_MEMFD_CREATE = 319
SYS_DELETE_MODULE = 176
SYS_FINIT_MODULE = 313

# What a thread of lending.py executes. It is given the address of four words: a lock, an order (0 rest, 1 wait for the
# lock, 2 end), its own number, and whether it rests.
LENDER_SOURCE = """
    endbr64
    push %rbx
    mov %rdi, %rbx
    mov $186, %eax
    syscall
    mov %eax, 8(%rbx)
0:  mov 4(%rbx), %eax
    cmp $1, %eax
    je 1f
    cmp $2, %eax
    je 4f
    movl $1, 12(%rbx)
    xor %edx, %edx
    call 3f
    jmp 0b
1:  mov $202, %eax
    mov %rbx, %rdi
    mov $6, %esi
    xor %edx, %edx
    xor %r10d, %r10d
    syscall
2:  cmpl $1, 4(%rbx)
    jne 0b
    mov $1, %edx
    call 3f
    jmp 2b
3:  mov $202, %eax
    lea 4(%rbx), %rdi
    xor %esi, %esi
    xor %r10d, %r10d
    syscall
    ret
4:  xor %eax, %eax
    pop %rbx
    ret
"""
LENDER = bytes.fromhex(
    "f30f1efa534889fbb8ba0000000f058943088b430483f801741583f8027447c7430c0100000031d2e828000000ebe3b8"
    "ca0000004889dfbe0600000031d24531d20f05837b040175c9ba01000000e802000000ebeeb8ca000000488d7b0431f6"
    "4531d20f05c331c05bc3"
)

REGISTER_NAMES = [
    "r15",
    "r14",
    "r13",
    "r12",
    "rbp",
    "rbx",
    "r11",
    "r10",
    "r9",
    "r8",
    "rax",
    "rcx",
    "rdx",
    "rsi",
    "rdi",
    "orig_rax",
    "rip",
    "cs",
    "eflags",
    "rsp",
    "ss",
    "fs_base",
    "gs_base",
    "ds",
    "es",
    "fs",
    "gs",
]
"""The words of struct user_regs_struct (`syscall.Registers`), 8 bytes each."""


WORDS = len(REGISTER_NAMES)
ORIG_RAX, RAX, RIP, CS, RSP, RSI, FS_BASE = (
    REGISTER_NAMES.index(n) for n in ("orig_rax", "rax", "rip", "cs", "rsp", "rsi", "fs_base")
)
NO_SYSCALL = (1 << 64) - 1


def place_of(name: str) -> int:
    """Index of a register among the words of `Registers`."""
    return REGISTER_NAMES.index(name)


# include/linux/errno.h: what a system call leaves in rax when the kernel is to restart it.
_ERESTARTSYS, _ERESTARTNOINTR, _ERESTARTNOHAND, _ERESTART_RESTARTBLOCK = 512, 513, 514, 516
_RESTARTS = frozenset((1 << 64) - e for e in (_ERESTARTSYS, _ERESTARTNOINTR, _ERESTARTNOHAND, _ERESTART_RESTARTBLOCK))
EINTR = (1 << 64) - errno.EINTR
RESTARTBLOCK = (1 << 64) - _ERESTART_RESTARTBLOCK
"""In rax: the kernel will have the thread call restart_syscall, which goes on with the rest of a sleep."""

# Calls that return EINTR after a stop though no signal is handled: every place of Linux 6.1 that returns it for a
# signal that is merely pending, without the fatal ones (docs/reference/interrupted-calls.md goes through them). Made
# again they find everything as before.
REPEATED_AFTER_EINTR = frozenset(
    {
        # sockets with a timeout (include/net/sock.h, sock_intr_errno), drivers and file systems in user space
        0,  # read
        1,  # write
        17,  # pread64
        18,  # pwrite64
        19,  # readv
        20,  # writev
        40,  # sendfile
        42,  # connect
        43,  # accept
        44,  # sendto
        45,  # recvfrom
        46,  # sendmsg
        47,  # recvmsg
        275,  # splice
        288,  # accept4
        295,  # preadv
        296,  # pwritev
        299,  # recvmmsg
        307,  # sendmmsg
        327,  # preadv2
        328,  # pwritev2
        # waits (ipc/sem.c, kernel/signal.c, fs/aio.c, fs/eventpoll.c, io_uring/io_uring.c, io_uring/rsrc.c)
        65,  # semop
        128,  # rt_sigtimedwait
        208,  # io_getevents
        220,  # semtimedop
        232,  # epoll_wait
        281,  # epoll_pwait
        333,  # io_pgetevents
        426,  # io_uring_enter
        427,  # io_uring_register
        441,  # epoll_pwait2
        # a lock that another holds (net/unix/af_unix.c, kernel/module/main.c, kernel/events/core.c, fs/fsopen.c,
        # fs/namespace.c)
        49,  # bind
        54,  # setsockopt
        176,  # delete_module
        298,  # perf_event_open
        431,  # fsconfig
        432,  # fsmount
        # undone before they return (mm/swapfile.c; mm/shmem.c and fs/hugetlbfs/inode.c)
        168,  # swapoff
        285,  # fallocate
    }
)
_SYS_IOCTL = 16
# Requests of ioctl(2): TCSBRK and TCSBRKP (drivers/tty/tty_io.c), SECCOMP_IOCTL_NOTIF_RECV (kernel/seccomp.c). Others
# mean what their driver says, as KVM_RUN, whose EINTR its callers wait for.
_REPEATED_IOCTLS = frozenset({0x5409, 0x5425, 0xC0502100})
# Calls that swap the signal mask while they wait: ppoll, pselect6, rt_sigsuspend, epoll_pwait, io_pgetevents,
# io_uring_enter, epoll_pwait2.
SWAPS_SIGNAL_MASK = frozenset({130, 270, 271, 281, 333, 426, 441})

# Code to borrow. `syscall; ret`, and the signal return trampolines of glibc and musl: `mov $15, %rax; syscall`, `mov
# $15, %eax; syscall`.
SYSCALL_RET = b"\x0f\x05\xc3"
SIGRETURN_SIZE = 9
SIGRETURN = re.compile(rb"\x48\xc7\xc0\x0f\x00\x00\x00\x0f\x05|\xb8\x0f\x00\x00\x00\x0f\x05", re.DOTALL)


# glibc's jmp_buf (sysdeps/x86_64/jmpbuf-offsets.h): rbx, rbp, r12..r15, rsp, pc. Pointers are mangled with a secret of
# the process (sysdeps/unix/sysv/linux/x86_64/pointer_guard.h; tcbhead_t.pointer_guard): xor, then rotate left by 2 * 8
# + 1.
POINTER_GUARD = 0x30
JUMP_BUFFER_WORDS, JUMP_BUFFER_RSP = 8, 6
_MANGLE_ROTATION = 17
_DWARF_OF_JUMP_BUFFER = (3, 6, 12, 13, 14, 15, 7, 16)
_MANGLED = frozenset({6, 7, 16})


def demangle(value: int, guard: int) -> int:
    """A pointer that glibc has mangled; `guard` is the process's secret."""
    return ((value >> _MANGLE_ROTATION | value << (64 - _MANGLE_ROTATION)) & NO_SYSCALL) ^ guard


def jump_buffer(words: Sequence[int], guard: int) -> dict[int, int]:
    """Registers (DWARF numbers) that a jmp_buf restores."""
    return {n: demangle(w, guard) if n in _MANGLED else w for n, w in zip(_DWARF_OF_JUMP_BUFFER, words, strict=True)}


def require_machine() -> None:
    """Raises Unsupported on any other machine."""
    if platform.machine() != "x86_64":
        raise Unsupported(
            f"this machine is {platform.machine()}; live patches are applied on x86-64 only",
            RESTART,
            reason=Reason.MACHINE,
        )


def in_syscall(registers: Registers) -> bool:
    return bool(registers.orig_rax != NO_SYSCALL)


def swaps_mask(registers: Registers) -> bool:
    return registers.orig_rax in SWAPS_SIGNAL_MASK and (registers.rax in _RESTARTS or registers.rax == EINTR)


def is_repeated_after_eintr(number: int, second: int) -> bool:
    """Whether a call that was interrupted may be made again, by its number and its second argument."""
    return number in REPEATED_AFTER_EINTR or (number == _SYS_IOCTL and second & 0xFFFFFFFF in _REPEATED_IOCTLS)


def repeat_call(registers: Registers) -> None:
    """Set the program counter back to the `syscall` instruction, with the call's number in rax."""
    registers.rip -= 2
    registers.rax = registers.orig_rax
    registers.orig_rax = NO_SYSCALL


def repeat_call_in(words: memoryview[int], at: int) -> None:
    """The same for registers that begin at word `at`."""
    words[at + RIP] -= 2
    words[at + RAX] = words[at + ORIG_RAX]
    words[at + ORIG_RAX] = NO_SYSCALL


def as_seen_by_sigreturn(registers: Registers) -> Registers:
    """The registers to put into a signal frame: an interrupted call is repeated, since sigreturn forgets that there was
    one."""
    copy = type(registers).from_buffer_copy(registers)
    if in_syscall(copy) and copy.rax in _RESTARTS:
        repeat_call(copy)
    return copy


_XSTATE_LEGACY, _XSTATE_HEADER = 512, 64
_SW_RESERVED = 464
_FP_XSTATE_MAGIC1, _FP_XSTATE_MAGIC2 = 0x46505853, 0x46505845
_AMX_TILE_DATA, _XSTATE_WITHOUT_AMX = 1 << 18, 2816
_UC_FLAGS = 0x7  # UC_FP_XSTATE | UC_SIGCONTEXT_SS | UC_STRICT_RESTORE_SS
_SS_INVALID = 0x7  # do_sigaltstack refuses it and sigreturn ignores that, so the alternate stack stays as it is
_SIGCONTEXT_ORDER = [
    "r8",
    "r9",
    "r10",
    "r11",
    "r12",
    "r13",
    "r14",
    "r15",
    "rdi",
    "rsi",
    "rbp",
    "rbx",
    "rdx",
    "rax",
    "rcx",
    "rsp",
    "rip",
    "eflags",
]
FRAME_RSP = 8 + 40 + 8 * _SIGCONTEXT_ORDER.index("rsp")
"""Where an rt_sigframe keeps the interrupted stack pointer, from its first word (the restorer's address)."""
FRAME_SIZE = 8 + 8 + 8 + 24 + 256 + 8 + 128


@dataclass(frozen=True)
class SignalFrame:
    """Bytes for the stack at `address`, where rsp must point for `ret` to enter the restorer. `low`..`top` is what they
    cover."""

    address: int
    data: bytes


def error_of(result: int) -> int:
    """The errno that a call's result (rax) stands for, 0 for none: the kernel returns the last 4,095 numbers for it."""
    return (1 << 64) - result if result > (1 << 64) - 4096 else 0


def signal_frame(stack_pointer: int, registers: Registers, xstate: bytes, mask: int, restorer: int) -> SignalFrame:
    """An rt_sigframe below the red zone of `stack_pointer` that makes sigreturn load these registers.

    `xstate` is what PTRACE_GETREGSET NT_X86_XSTATE gave (uncompacted XSAVE format), empty on a processor without XSAVE.
    """
    extended = _extended_state(xstate)
    state_at = (stack_pointer - RED_ZONE - len(extended)) & ~63
    address = ((state_at - FRAME_SIZE) & ~15) - 8
    context = b"".join(struct.pack("<Q", getattr(registers, name)) for name in _SIGCONTEXT_ORDER)
    context += struct.pack("<4H", registers.cs, 0, 0, registers.ss) + struct.pack("<4Q", 0, 0, 0, 0)
    context += struct.pack("<Q", state_at if extended else 0) + bytes(64)
    frame = struct.pack("<QQQ", restorer, _UC_FLAGS, 0) + struct.pack("<QiiQ", 0, _SS_INVALID, 0, 0)
    frame += context + struct.pack("<Q", mask) + bytes(128)
    return SignalFrame(address, frame.ljust(state_at - address, b"\0") + extended)


def _extended_state(xstate: bytes) -> bytes:
    if len(xstate) < _XSTATE_LEGACY + _XSTATE_HEADER:
        return b""
    state = bytearray(xstate)
    features = struct.unpack_from("<Q", state, _XSTATE_LEGACY)[0]
    if not features & _AMX_TILE_DATA and len(state) > _XSTATE_WITHOUT_AMX:
        # A thread without permission for AMX has the smaller state, and sigreturn takes no larger one.
        del state[_XSTATE_WITHOUT_AMX:]
    enabled = struct.unpack_from("<Q", xstate, _SW_RESERVED)[0]
    state[_SW_RESERVED:_XSTATE_LEGACY] = struct.pack("<IIQI28x", _FP_XSTATE_MAGIC1, len(state) + 4, enabled, len(state))
    return bytes(state) + struct.pack("<I", _FP_XSTATE_MAGIC2)
