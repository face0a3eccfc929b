"""What a thread's seccomp filters say of a system call (seccomp(2)): the filters are read and run here.

The kernel itself makes one call that no program asks for: restart_syscall, to go on with a sleep that a stop has
interrupted. A filter that does not know it kills the program, or makes the sleep fail. SIGSTOP would do the same.
"""

from __future__ import annotations

import errno
import struct
from collections.abc import Sequence

from suture.process import syscall, x86_64
from suture.process.syscall import Registers

_MOST_FILTERS = 64
_MOST_STEPS = 1 << 15  # BPF_MAXINSNS for each of several filters, together
_ALLOWING = frozenset({0x7FFF0000, 0x7FFC0000})  # SECCOMP_RET_ALLOW, SECCOMP_RET_LOG
_ACTION = 0xFFFF0000
_MASK = 0xFFFFFFFF
# linux/filter.h, linux/bpf_common.h: classes, and what each does
_LD, _LDX, _ST, _STX, _ALU, _JMP, _RET, _MISC = range(8)
_ABS, _IMM, _MEM, _LEN = 0x20, 0x00, 0x60, 0x80
_FROM_X, _FROM_A = 0x08, 0x10


def allows(tid: int, registers: Registers, number: int) -> bool:
    """Whether the filters of a stopped thread let it make the call `number` with the arguments in `registers`, itself
    and alone. False when they cannot be read."""
    data = _seccomp_data(registers, number)
    for index in range(_MOST_FILTERS):
        try:
            program = syscall.get_seccomp_filter(tid, index)
        except FileNotFoundError:  # there are no more
            return True
        except OSError as problem:
            return problem.errno == errno.EINVAL  # it has none
        if _run(program, data) & _ACTION not in _ALLOWING:
            return False
    return False


def _seccomp_data(registers: Registers, number: int) -> bytes:
    """struct seccomp_data, as words of 32 bits are loaded from it."""
    arguments = (getattr(registers, name) for name in ("rdi", "rsi", "rdx", "r10", "r8", "r9"))
    return struct.pack("<iIQ6Q", number, x86_64.AUDIT_ARCH, registers.rip, *arguments)


def _run(program: Sequence[tuple[int, int, int, int]], data: bytes) -> int:
    """Run a classic BPF program (code, jt, jf, k) as seccomp allows it (kernel/seccomp.c, seccomp_check_filter). 0,
    which kills, for what it is not."""
    a = x = at = 0
    memory = [0] * 16
    for _ in range(_MOST_STEPS):
        if not 0 <= at < len(program):
            return 0
        code, jt, jf, k = program[at]
        at += 1
        kind, mode = code & 7, code & 0xE0
        if kind == _RET:
            return a if code & 0x18 == _FROM_A else k
        if kind in (_LD, _LDX):
            if mode == _ABS and k % 4 == 0 and k + 4 <= len(data):
                value = int.from_bytes(data[k : k + 4], "little")
            elif mode == _MEM and k < 16:
                value = memory[k]
            elif mode == _IMM:
                value = k
            elif mode == _LEN:
                value = len(data)
            else:
                return 0
            a, x = (value, x) if kind == _LD else (a, value)
        elif kind in (_ST, _STX) and k < 16:
            memory[k] = a if kind == _ST else x
        elif kind == _ALU:
            done = _calculate(code & 0xF0, a, x if code & _FROM_X else k)
            if done is None:
                return 0
            a = done
        elif kind == _JMP:
            at += k if code & 0xF0 == 0 else jt if _holds(code & 0xF0, a, x if code & _FROM_X else k) else jf
        elif kind == _MISC:
            a, x = (x, x) if code & 0x80 else (a, a)
        else:
            return 0
    return 0


def _calculate(operation: int, a: int, b: int) -> int | None:
    match operation >> 4:
        case 0:
            result = a + b
        case 1:
            result = a - b
        case 2:
            result = a * b
        case 3 if b:
            result = a // b
        case 4:
            result = a | b
        case 5:
            result = a & b
        case 6 if b < 32:
            result = a << b
        case 7 if b < 32:
            result = a >> b
        case 8:
            result = -a
        case 10:
            result = a ^ b
        case _:
            return None
    return result & _MASK


def _holds(test: int, a: int, b: int) -> bool:
    match test >> 4:
        case 1:
            return a == b
        case 2:
            return a > b
        case 3:
            return a >= b
        case _:
            return a & b != 0
