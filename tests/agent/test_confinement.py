"""The privileged part's filter: what it forbids is refused and told of, and what the work needs goes on."""

from __future__ import annotations

import errno
import json
import re
import subprocess
import sys

import pytest

from suture.agent import confinement
from suture.process.stop import seccomp

ALLOW, KILL = 0x7FFF0000, 0x80000000
X86_64 = 0xC000003E


def judged(number: int, *arguments: int, arch: int = X86_64, told: bool = False) -> int:
    """What the filter says of a call."""
    data = number.to_bytes(4, "little") + arch.to_bytes(4, "little") + bytes(8)
    data += b"".join((a & (1 << 64) - 1).to_bytes(8, "little") for a in (*arguments, *[0] * (6 - len(arguments))))
    return seccomp._run(confinement.program(told=told), data)


REFUSED = 0x00050000 | errno.EPERM


def test_the_numbers_are_those_of_the_kernel_s_header() -> None:
    names = [*confinement.FREE, *confinement.BOUND, "clone3"]
    rows = "\n".join(f"NUMBER {n} __NR_{n}" for n in names)
    done = subprocess.run(
        ["gcc", "-E", "-P", "-"],
        input=f"#include <asm/unistd_64.h>\n{rows}\n",
        capture_output=True,
        text=True,
        check=True,
    )
    found = {n: int(v) for n, v in re.findall(r"^NUMBER (\w+) (\d+)$", done.stdout, re.M)}
    assert found == {
        **confinement.FREE, **{n: c[0].number for n, c in confinement.BOUND.items()}, "clone3": confinement._CLONE3,
    }  # fmt: skip


@pytest.mark.parametrize("number", sorted(confinement.FREE.values()))
def test_what_the_work_needs_is_allowed(number: int) -> None:
    assert judged(number) == ALLOW


@pytest.mark.parametrize("number", sorted(confinement._NAMES.keys() - {9, 10, 16, 41, 56, 157}))
def test_what_it_does_not_need_is_refused_or_told_of(number: int) -> None:
    assert judged(number) == REFUSED and judged(number, told=True) == 0x7FC00000


@pytest.mark.parametrize(
    ("name", "arguments", "allowed"),
    [
        ("mmap", (0, 4096, 3), True),
        ("mmap", (0, 4096, 5), True),
        ("mmap", (0, 4096, 7), False),
        ("mprotect", (0, 4096, 1), True),
        ("mprotect", (0, 4096, 5), False),
        ("ioctl", (0, 0x5401), True),
        ("ioctl", (0, 0x5412), False),  # TIOCSTI
        ("socket", (1, 1), True),
        ("socket", (2, 1), False),
        ("socket", (10, 1), False),
        ("socket", (16, 3), False),  # netlink
        ("clone", (0x1200011,), True),  # as fork of libc makes it
        ("clone", (0x3D0F00,), True),  # a thread
        ("clone", (0x10000011,), False),  # a user namespace
        ("clone", (0x20011,), False),
        ("prctl", (1, 9), True),
        ("prctl", (22, 2), False),
    ],
)
def test_some_are_allowed_by_their_arguments(name: str, arguments: tuple[int, ...], allowed: bool) -> None:
    assert (judged(confinement.BOUND[name][0].number, *arguments) == ALLOW) is allowed


def test_other_abis_are_killed_and_a_call_that_libc_has_another_for_is_none() -> None:
    assert judged(0, arch=0x40000003) == KILL and judged(0x40000000) == KILL
    assert judged(435) == 0x00050000 | errno.ENOSYS


def test_capabilities_that_the_rest_needs_are_given_up() -> None:
    everything = (1 << 41) - 1
    assert confinement.kept(everything) == 1 << 1 | 1 << 2 | 1 << 19 | 1 << 23 | 1 << 40
    assert confinement.kept(everything & ~(1 << 40)) == 1 << 1 | 1 << 2 | 1 << 19 | 1 << 21 | 1 << 23
    assert confinement.kept(0) == 0


PROGRAM = """
import ctypes, json, os, socket, sys
from suture.agent import confinement
from suture.process import syscall
if sys.argv[1] == "confined":
    syscall.no_new_privileges()
    syscall.seccomp_filter(confinement.program(told=False), listener=False)
libc = ctypes.CDLL(None, use_errno=True)
def tried(work):
    try:
        return work()
    except OSError as problem:
        return problem.errno
def raw(*words):
    return ctypes.get_errno() if libc.syscall(*[ctypes.c_long(w) for w in words]) < 0 else 0
def executed():
    child = os.fork()
    if not child:
        try:
            os.execv("/bin/sh", ["sh", "-c", ":"])
        except OSError as problem:
            os._exit(problem.errno)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
def mounted():
    return ctypes.get_errno() if libc.mount(b"none", b"/is/not/there", b"tmpfs", 0, None) else 0
print(json.dumps({
    "read": len(open("/proc/self/status").read()) > 0,
    "fork": tried(lambda: os.waitpid(os.fork() or os._exit(0), 0)[1]),
    "unix": tried(lambda: socket.socket(socket.AF_UNIX).close()),
    "socket": tried(lambda: socket.socket(socket.AF_INET).close()),
    "shell": executed(),
    "ptrace": raw(101, 0x4206, 0, 0, 0),
    "mount": mounted(),
    "unshare": raw(272, 0x20000),
    "finit_module": raw(313, -1, 0, 0),
    "bpf": raw(321, -1, 0, 0),
}))
"""
WANTED = {"read": True, "fork": 0, "unix": None}
FORBIDDEN = ("socket", "shell", "ptrace", "mount", "unshare", "finit_module", "bpf")


def acts(how: str) -> dict[str, object]:
    """What came of each act: an errno, or 0 or nothing where it went on."""
    done = subprocess.run([sys.executable, "-c", PROGRAM, how], capture_output=True, text=True, check=True)
    found = json.loads(done.stdout)
    assert isinstance(found, dict)
    return found


def test_each_forbidden_act_is_refused_and_each_wanted_one_goes_on() -> None:
    assert acts("confined") == WANTED | dict.fromkeys(FORBIDDEN, errno.EPERM)
    free = acts("free")  # else all of this would hold anyway
    assert {n: free[n] for n in ("read", "socket", "shell", "ptrace", "mount", "unshare")} == {
        "read": True, "socket": None, "shell": 0, "ptrace": errno.ESRCH, "mount": errno.ENOENT, "unshare": 0,
    }  # fmt: skip
