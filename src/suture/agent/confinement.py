"""What the privileged part gives up once it is ready (seccomp(2), capabilities(7)): all system calls but those that it
needs to read, decide and write down. It traces nothing, loads no module, starts no program, opens no connection and
mounts nothing; its children that look at processes do not either. What traces is another process (`hand.py`).

A call that is not on the list fails with EPERM and is told of, by the other process; one of another ABI (i386, x32)
kills. The list is x86-64's.
"""

from __future__ import annotations

import errno
import fcntl
import struct
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from suture.process import syscall, x86_64

# arch/x86/entry/syscalls/syscall_64.tbl
FREE: Mapping[str, int] = {
    "read": 0, "write": 1, "open": 2, "close": 3, "stat": 4, "fstat": 5, "lstat": 6, "poll": 7, "lseek": 8,
    "munmap": 11, "brk": 12, "rt_sigaction": 13, "rt_sigprocmask": 14, "rt_sigreturn": 15, "pread64": 17,
    "pwrite64": 18, "readv": 19, "writev": 20, "access": 21, "pipe": 22, "select": 23, "sched_yield": 24,
    "mremap": 25, "madvise": 28, "dup": 32, "dup2": 33, "nanosleep": 35, "getitimer": 36, "setitimer": 38,
    "getpid": 39, "connect": 42, "accept": 43, "sendto": 44, "recvfrom": 45, "sendmsg": 46, "recvmsg": 47,
    "shutdown": 48, "getsockname": 51, "getpeername": 52, "setsockopt": 54, "getsockopt": 55, "fork": 57, "exit": 60,
    "wait4": 61, "kill": 62, "uname": 63, "fcntl": 72, "flock": 73, "fsync": 74, "fdatasync": 75, "ftruncate": 77,
    "getdents": 78, "getcwd": 79, "rename": 82, "mkdir": 83, "rmdir": 84, "unlink": 87, "readlink": 89, "chmod": 90,
    "fchmod": 91, "umask": 95, "gettimeofday": 96, "getrlimit": 97, "getrusage": 98, "sysinfo": 99, "times": 100,
    "getuid": 102, "getgid": 104, "geteuid": 107, "getegid": 108, "getppid": 110, "getpgrp": 111, "getgroups": 115,
    "capget": 125, "sigaltstack": 131, "statfs": 137, "fstatfs": 138, "sched_setscheduler": 144,
    "sched_getscheduler": 145, "arch_prctl": 158, "gettid": 186, "time": 201, "futex": 202, "sched_getaffinity": 204,
    "getdents64": 217, "set_tid_address": 218, "restart_syscall": 219, "timer_create": 222, "timer_settime": 223,
    "timer_delete": 226, "clock_gettime": 228, "clock_getres": 229, "clock_nanosleep": 230, "exit_group": 231,
    "epoll_wait": 232, "epoll_ctl": 233, "tgkill": 234, "waitid": 247, "openat": 257, "mkdirat": 258,
    "newfstatat": 262, "unlinkat": 263, "renameat": 264, "readlinkat": 267, "fchmodat": 268, "faccessat": 269,
    "pselect6": 270, "ppoll": 271, "set_robust_list": 273, "epoll_pwait": 281, "accept4": 288, "epoll_create1": 291,
    "dup3": 292, "pipe2": 293, "prlimit64": 302, "process_vm_readv": 310, "kcmp": 312, "renameat2": 316,
    "getrandom": 318, "membarrier": 324, "statx": 332, "rseq": 334, "pidfd_send_signal": 424, "pidfd_open": 434,
    "close_range": 436, "openat2": 437, "faccessat2": 439, "epoll_pwait2": 441,
}  # fmt: skip


@dataclass(frozen=True)
class BoundCall:
    """A call that goes on when its argument (the first is 0; 32 bits of it) is one of `values`, or with no values, has
    not all bits of `without`."""

    number: int
    argument: int
    values: tuple[int, ...] = ()
    without: int = 0


_WRITE_AND_EXECUTE, _EXECUTE = 2 | 4, 4  # PROT_WRITE, PROT_EXEC: linux/mman.h
_AF_UNIX = 1
# asm-generic/ioctls.h: TCGETS, FIONBIO, FIONCLEX, FIOCLEX
_TERMINAL, _NOT_BLOCKING, _KEEP_ON_EXEC, _CLOSE_ON_EXEC = 0x5401, 0x5421, 0x5450, 0x5451
_PR_SET_PDEATHSIG, _PR_SET_NAME = 1, 15
# CLONE_NEWTIME, NEWNS, NEWCGROUP, NEWUTS, NEWIPC, NEWUSER, NEWPID, NEWNET: linux/sched.h
_NAMESPACES = (0x80, 0x20000, 0x2000000, 0x4000000, 0x8000000, 0x10000000, 0x20000000, 0x40000000)
BOUND: Mapping[str, Sequence[BoundCall]] = {
    "mmap": (BoundCall(9, 2, without=_WRITE_AND_EXECUTE),),
    "mprotect": (BoundCall(10, 2, without=_EXECUTE),),
    "ioctl": (BoundCall(16, 1, (_TERMINAL, _NOT_BLOCKING, _KEEP_ON_EXEC, _CLOSE_ON_EXEC)),),
    "socket": (BoundCall(41, 0, (_AF_UNIX,)),),  # the name service asks its daemons so
    "clone": tuple(BoundCall(56, 0, without=bit) for bit in _NAMESPACES),
    "prctl": (BoundCall(157, 0, (_PR_SET_PDEATHSIG, _PR_SET_NAME)),),
}
_CLONE3 = 435  # its flags lie in memory; libc takes clone where there is none

# linux/filter.h; seccomp(2)
_LOAD, _IS, _AT_LEAST, _HAS, _AND, _RETURN = 0x20, 0x15, 0x35, 0x45, 0x54, 0x06
_KILL, _ERRNO, _NOTIFY, _ALLOW = 0x80000000, 0x00050000, 0x7FC00000, 0x7FFF0000
_NUMBER, _ARCH, _ARGUMENTS = 0, 4, 16  # offsets in struct seccomp_data
_X32 = 0x40000000
_Row = tuple[int, int, int, int]


def program(*, told: bool) -> list[_Row]:
    """The filter, as classic BPF (code, jt, jf, k). With `told` a listener hears of what is not allowed and answers;
    without, it fails with EPERM."""
    refuse: _Row = (_RETURN, 0, 0, _NOTIFY if told else _ERRNO | errno.EPERM)
    allow: _Row = (_RETURN, 0, 0, _ALLOW)
    rows: list[_Row] = [
        (_LOAD, 0, 0, _ARCH), (_IS, 1, 0, x86_64.AUDIT_ARCH), (_RETURN, 0, 0, _KILL),
        (_LOAD, 0, 0, _NUMBER), (_AT_LEAST, 0, 1, _X32), (_RETURN, 0, 0, _KILL),
        (_IS, 0, 1, _CLONE3), (_RETURN, 0, 0, _ERRNO | errno.ENOSYS),
    ]  # fmt: skip
    for number in FREE.values():
        rows += [(_IS, 0, 1, number), allow]
    for checks in BOUND.values():
        body: list[_Row] = []
        for check in checks:
            body.append((_LOAD, 0, 0, _ARGUMENTS + 8 * check.argument))
            if check.values:
                for value in check.values:
                    body += [(_IS, 0, 1, value), allow]
                body.append(refuse)
            else:
                body += [(_AND, 0, 0, check.without), (_IS, 0, 1, check.without), refuse]
        rows += [(_IS, 0, len(body) + 1, checks[0].number), *body, allow]
    return [*rows, refuse]


# linux/capability.h. Processes of all users; looks that are not put off on a busy host; files behind mappings, for
# which CAP_CHECKPOINT_RESTORE is enough where the kernel knows it (Linux 5.9), else CAP_SYS_ADMIN
_DAC_OVERRIDE, _DAC_READ_SEARCH, _SYS_PTRACE, _SYS_ADMIN, _SYS_NICE, _CHECKPOINT_RESTORE = 1, 2, 19, 21, 23, 40


def kept(permitted: int) -> int:
    """Of the capabilities (a bit each) that a process has, those that it keeps."""
    wanted = 1 << _DAC_OVERRIDE | 1 << _DAC_READ_SEARCH | 1 << _SYS_PTRACE | 1 << _SYS_NICE
    behind = _CHECKPOINT_RESTORE if permitted >> _CHECKPOINT_RESTORE & 1 else _SYS_ADMIN
    return permitted & (wanted | 1 << behind)


def confine() -> int:
    """From now on, and for all that this process forks. The listener's descriptor, -1 where the kernel has none to
    give (before Linux 5.0; a filter with one is in force already). Raises OSError where there is no seccomp."""
    syscall.set_capabilities(kept(syscall.get_capabilities()))
    syscall.no_new_privileges()
    try:
        return syscall.seccomp_filter(program(told=True), listener=True)
    except OSError as problem:
        if problem.errno not in (errno.EINVAL, errno.EBUSY):
            raise
    return syscall.seccomp_filter(program(told=False), listener=False)


# SECCOMP_IOCTL_NOTIF_RECV and _SEND, struct seccomp_notif (id, pid, flags, seccomp_data) and seccomp_notif_resp (id,
# val, error, flags): linux/seccomp.h
_RECEIVE, _SEND = 0xC0502100, 0xC0182101
_TOLD, _ANSWER = struct.Struct("<QIIiIQ6Q"), struct.Struct("<QqiI")


@dataclass(frozen=True)
class RefusedCall:
    """A system call that was refused. `command`: the name of the process that made it."""

    pid: int
    command: str
    call: str

    def __str__(self) -> str:
        return f"pid {self.pid} {self.command} called {self.call}, which the privileged part may not"


def answer(listener: int) -> RefusedCall | None:
    """Refuse the call that waits. None when who made it is gone. Blocks when none waits."""
    told = bytearray(_TOLD.size)
    try:
        fcntl.ioctl(listener, _RECEIVE, told)
        identity, pid, _, number, _, _, first, second, *_ = _TOLD.unpack(told)
        command = _command(pid)
        fcntl.ioctl(listener, _SEND, _ANSWER.pack(identity, 0, -errno.EPERM, 0))
    except FileNotFoundError:
        return None
    name = _NAMES.get(number, f"number {number}")
    which = {BOUND["ioctl"][0].number: second, BOUND["prctl"][0].number: first}.get(number)
    return RefusedCall(pid, command, name if which is None else f"{name} {which:#x}")


# of those that are not allowed, some that would tell of an attack or of a list that is too short
_NAMES = {
    9: "mmap to write and execute", 10: "mprotect to execute", 16: "ioctl", 41: "socket of a network",
    49: "bind", 53: "socketpair", 56: "clone with a namespace", 59: "execve", 92: "chown", 101: "ptrace",
    105: "setuid", 126: "capset", 155: "pivot_root", 157: "prctl", 161: "chroot", 165: "mount", 166: "umount2",
    169: "reboot", 175: "init_module", 248: "add_key", 250: "keyctl", 272: "unshare", 298: "perf_event_open",
    300: "fanotify_init", 304: "open_by_handle_at", 308: "setns", 311: "process_vm_writev", 313: "finit_module",
    317: "seccomp", 319: "memfd_create", 321: "bpf", 322: "execveat", 323: "userfaultfd", 425: "io_uring_setup",
    428: "open_tree", 429: "move_mount", 438: "pidfd_getfd",
}  # fmt: skip


def _command(pid: int) -> str:
    try:
        return Path(f"/proc/{pid}/comm").read_text().strip()
    except OSError:
        return "?"
