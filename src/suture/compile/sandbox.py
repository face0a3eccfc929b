"""A sandbox: a command runs in namespaces of its own, with the mounts it is given, without rights and without a
network.

What runs inside is the code of packages (debian/rules, configure, make) and compilers with flags that somebody else
wrote. It sees no process of the host, no device, no terminal, no socket; it cannot gain rights; what it may write are
the folders named in the order. There is no second way out of the mounts: a chroot without CAP_SYS_CHROOT is not left,
and in a chroot no user namespace can be made (clone(2), CLONE_NEWUSER: EPERM). On the host's own file system every
mount is read-only, and a user namespace made inside cannot change that (mount_namespaces(7): mounts of a more
privileged namespace keep their flags).

This file is also the program that does it, run by `python -I -S` with the order as JSON; it imports the standard
library only.
"""

from __future__ import annotations

import ctypes
import fcntl
import json
import os
import resource
import signal
import socket
import struct
import sys
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass
from typing import Any

FAILED = 125
"""Exit status when the sandbox itself cannot be made (as env(1) and chroot(1) do)."""

NO_SANDBOX = "the sandbox cannot be made"

DEVICES = ("null", "zero", "full", "random", "urandom")
_LINKS = (("/proc/self/fd", "fd"), ("fd/0", "stdin"), ("fd/1", "stdout"), ("fd/2", "stderr"))

_CLONE_NEWNS, _CLONE_NEWUTS, _CLONE_NEWIPC = 0x00020000, 0x04000000, 0x08000000
_SIOCSIFFLAGS, _IFF_UP = 0x8914, 1
_CLONE_NEWUSER, _CLONE_NEWPID, _CLONE_NEWNET = 0x10000000, 0x20000000, 0x40000000
_MS_RDONLY, _MS_NOSUID, _MS_NODEV, _MS_NOEXEC, _MS_REMOUNT = 1, 2, 4, 8, 32
_MS_BIND, _MS_REC, _MS_PRIVATE = 4096, 16384, 1 << 18
_LOCKED = {"ro": _MS_RDONLY, "nosuid": _MS_NOSUID, "nodev": _MS_NODEV, "noexec": _MS_NOEXEC}
_PR_SET_PDEATHSIG, _PR_SET_SECCOMP, _PR_CAPBSET_READ, _PR_CAPBSET_DROP, _PR_SET_NO_NEW_PRIVS = 1, 22, 23, 24, 38
_SYS_KEYCTL, _KEYCTL_JOIN_SESSION_KEYRING = 250, 1
_CAPABILITIES = 64  # more than any kernel has; PR_CAPBSET_READ fails for those that it does not know

# capabilities(7). What dpkg needs in a chroot of its own: no CAP_MKNOD, CAP_SYS_CHROOT, CAP_DAC_READ_SEARCH
# (open_by_handle_at), CAP_SYS_ADMIN.
INSTALLING = (0, 1, 3, 4, 5, 6, 7, 29, 31)
"""CAP_CHOWN, DAC_OVERRIDE, FOWNER, FSETID, KILL, SETGID, SETUID, AUDIT_WRITE, SETFCAP."""

# socket() and io_uring_setup() are refused, and every call of another ABI (i386, x32) ends the process: seccomp(2),
# bpf(4).
_AUDIT_ARCH_X86_64, _X32, _EACCES = 0xC000003E, 0x40000000, 0x0005000D
_NO_SOCKETS = (
    (0x20, 0, 0, 4),  # the architecture of the call
    (0x15, 1, 0, _AUDIT_ARCH_X86_64),
    (0x06, 0, 0, 0x80000000),  # SECCOMP_RET_KILL_PROCESS
    (0x20, 0, 0, 0),  # its number
    (0x35, 3, 0, _X32),
    (0x15, 2, 0, 41),  # socket
    (0x15, 1, 0, 425),  # io_uring_setup
    (0x06, 0, 0, 0x7FFF0000),  # SECCOMP_RET_ALLOW
    (0x06, 0, 0, _EACCES),
)


@dataclass(frozen=True)
class Order:
    """What is to be made, and run in it.

    `steps` are mounts in their order: `private` (nothing of ours is seen outside) and `private-or-not` (in a chroot
    that is no mount point the kernel refuses it: mount(2), EINVAL), `tmpfs TARGET OPTIONS`, `overlay TARGET OPTIONS`,
    `proc TARGET`, `devices TARGET`, `folder TARGET`, `own TARGET` (a folder for the command alone), `bind SOURCE
    TARGET` (read-only), `bind-rw SOURCE TARGET`, `freeze` (all mounts there are become read-only), `alone FOLDER PATHS`
    (an empty folder takes the place of FOLDER, in which only PATHS are, as they were: everybody may pass). Sources of
    binds are taken before the first step. `root` is the folder that becomes `/`, "" for none. `loopback`: without a
    network the namespace has its own loopback interface, which leads nowhere else.
    """

    steps: tuple[tuple[str, ...], ...]
    command: tuple[str, ...]
    env: tuple[tuple[str, str], ...]
    root: str = ""
    uid: int = 0
    gid: int = 0
    capabilities: tuple[int, ...] = ()
    network: bool = False
    sockets: bool = True
    loopback: bool = False

    def argv(self) -> list[str]:
        """The command line that carries it out."""
        return [sys.executable, "-I", "-S", __file__, json.dumps(asdict(self))]


_libc = ctypes.CDLL(None, use_errno=True)


def _check(result: int, what: str) -> None:
    if result < 0:
        number = ctypes.get_errno()
        raise OSError(number, f"{what}: {os.strerror(number)}")


def _mount(source: str, target: str, kind: str = "", flags: int = 0, data: str = "") -> None:
    words = [x.encode(errors="surrogateescape") if x else None for x in (source, target, kind)]
    _check(_libc.mount(*words, ctypes.c_ulong(flags), data.encode(errors="surrogateescape") or None), f"mount {target}")


def _prctl(option: int, value: int, pointer: object = None) -> int:
    return int(_libc.prctl(option, ctypes.c_ulong(value), pointer, None, None))


def _unshare(order: Order, own_user: bool) -> None:
    flags = _CLONE_NEWNS | _CLONE_NEWUTS | _CLONE_NEWIPC | _CLONE_NEWPID
    flags |= (0 if order.network else _CLONE_NEWNET) | (_CLONE_NEWUSER if own_user else 0)
    uid, gid = os.geteuid(), os.getegid()
    _check(_libc.unshare(flags), "unshare")
    if own_user:
        for name, text in (("setgroups", "deny"), ("uid_map", f"{uid} {uid} 1"), ("gid_map", f"{gid} {gid} 1")):
            with open(f"/proc/self/{name}", "w") as file:
                file.write(text)


def _carry_out(steps: Sequence[Sequence[str]], uid: int, gid: int) -> None:
    taken = {s[1]: os.open(s[1], os.O_PATH) for s in steps if s[0] in {"bind", "bind-rw"}}
    taken |= {f"/dev/{d}": os.open(f"/dev/{d}", os.O_PATH) for d in DEVICES}
    for word, *rest in steps:
        match word:
            case "private":
                _mount("", "/", flags=_MS_REC | _MS_PRIVATE)
            case "private-or-not":
                with suppress(OSError):
                    _mount("", "/", flags=_MS_REC | _MS_PRIVATE)
            case "tmpfs" | "overlay":
                _mount("suture", rest[0], word, 0, rest[1])
            case "proc":
                _mount("proc", rest[0], "proc", _MS_RDONLY | _MS_NOSUID | _MS_NODEV | _MS_NOEXEC)
            case "devices":
                _devices(rest[0], taken)
            case "folder":
                os.makedirs(rest[0], 0o755, exist_ok=True)
            case "own":
                os.makedirs(rest[0], 0o755, exist_ok=True)
                os.chown(rest[0], uid, gid)
            case "bind" | "bind-rw":
                _bind(taken[rest[0]], rest[1], read_only=word == "bind")
            case "alone":
                _leave_alone(rest[0], rest[1:])
            case "freeze":
                _freeze()
    for handle in taken.values():
        os.close(handle)


def _bind(source: int, target: str, read_only: bool) -> None:
    path = f"/proc/self/fd/{source}"
    if os.path.isdir(path):
        os.makedirs(target, 0o755, exist_ok=True)
    else:
        os.makedirs(os.path.dirname(target), 0o755, exist_ok=True)
        if not os.path.lexists(target):
            os.close(os.open(target, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o644))
    _mount(path, target, flags=_MS_BIND)
    # f_flag has the same numbers; a flag that was locked outside may not be left out
    kept = os.statvfs(target).f_flag & (_MS_NOSUID | _MS_NODEV | _MS_NOEXEC)
    _mount("", target, flags=_MS_REMOUNT | _MS_BIND | (_MS_RDONLY if read_only else 0) | kept)


def _leave_alone(folder: str, paths: Sequence[str]) -> None:
    kept = {path: os.open(path, os.O_PATH) for path in paths}
    _mount("suture", folder, "tmpfs", _MS_NOSUID | _MS_NODEV, "mode=755")
    for path, handle in kept.items():
        _bind(handle, path, read_only=True)
        os.close(handle)


def _devices(target: str, taken: dict[str, int]) -> None:
    _mount("suture", target, "tmpfs", _MS_NOSUID, "mode=755")
    for name in DEVICES:
        _bind(taken[f"/dev/{name}"], f"{target}/{name}", read_only=False)
    for where, name in _LINKS:
        os.symlink(where, f"{target}/{name}")


def _freeze() -> None:
    """Make every mount read-only that can be reached."""
    with open("/proc/self/mountinfo", encoding="utf-8", errors="surrogateescape") as file:
        rows = [line.split(" ", 6) for line in file]
    for row in rows:
        point = row[4]
        for code, plain in (("\\040", " "), ("\\011", "\t"), ("\\012", "\n"), ("\\134", "\\")):
            point = point.replace(code, plain)
        kept = sum(_LOCKED.get(option, 0) for option in row[5].split(","))
        try:
            _mount("", point, flags=_MS_REMOUNT | _MS_BIND | _MS_RDONLY | (kept & ~_MS_RDONLY))
        except (FileNotFoundError, PermissionError, NotADirectoryError):
            if kept & _MS_RDONLY or not os.access(point, os.W_OK):
                continue
            raise
        except OSError:
            if os.path.ismount(point):
                raise


def _give_up_rights(order: Order) -> None:
    for number in range(_CAPABILITIES):
        if number not in order.capabilities and _prctl(_PR_CAPBSET_READ, number) == 1:
            _check(_prctl(_PR_CAPBSET_DROP, number), "prctl PR_CAPBSET_DROP")
    if (os.geteuid(), os.getegid()) != (order.uid, order.gid) or os.geteuid() == 0:
        os.setgroups([])
        os.setresgid(order.gid, order.gid, order.gid)
        os.setresuid(order.uid, order.uid, order.uid)
    _check(_prctl(_PR_SET_NO_NEW_PRIVS, 1), "prctl PR_SET_NO_NEW_PRIVS")
    if not order.sockets:
        rows = b"".join(
            code.to_bytes(2, "little") + bytes((yes, no)) + value.to_bytes(4, "little")
            for code, yes, no, value in _NO_SOCKETS
        )
        code = ctypes.create_string_buffer(rows, len(rows))
        program = ctypes.create_string_buffer(
            len(_NO_SOCKETS).to_bytes(8, "little") + ctypes.addressof(code).to_bytes(8, "little"), 16
        )
        _check(_prctl(_PR_SET_SECCOMP, 2, ctypes.byref(program)), "prctl PR_SET_SECCOMP")
    # the change of the user has taken it back (prctl(2))
    _prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)


def _loopback_up() -> None:
    """Switch `lo` on in a network namespace of our own (netdevice(7))."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as handle:
        fcntl.ioctl(handle, _SIOCSIFFLAGS, struct.pack("16sh22x", b"lo", _IFF_UP))


def _inside(order: Order) -> None:
    """The first process of the namespace: makes the mounts, gives up its rights and becomes the command."""
    os.setsid()
    # the keys of whoever asked stay outside (keyrings(7), session-keyring(7)); a kernel without keyrings has none
    _libc.syscall(_SYS_KEYCTL, _KEYCTL_JOIN_SESSION_KEYRING, None)
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    os.umask(0o022)
    _carry_out(order.steps, order.uid, order.gid)
    if order.loopback and not order.network:
        _loopback_up()
    if order.root:
        os.chroot(order.root)
    os.chdir("/")
    _give_up_rights(order)
    os.execve(order.command[0], order.command, dict(order.env))


def main(text: str) -> int:
    """Carry out an order; the command's exit status."""
    facts: dict[str, Any] = json.loads(text)
    fields: dict[str, Any] = {k: tuple(v) if isinstance(v, list) else v for k, v in facts.items()}
    order = Order(**fields)
    signal.signal(signal.SIGINT, signal.SIG_DFL)
    _prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    try:
        _unshare(order, own_user=os.geteuid() != 0)
        child = os.fork()
        if child == 0:
            _prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
            _inside(order)
    except OSError as problem:
        print(f"{NO_SANDBOX}: {problem}", file=sys.stderr, flush=True)
        os._exit(FAILED)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])


if __name__ == "__main__":
    status = main(sys.argv[1])
    sys.exit(status if status >= 0 else 128 - status)
