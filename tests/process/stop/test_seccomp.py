"""Filters are run here as the kernel runs them: a program of each kind of instruction, and what is no program."""

from __future__ import annotations

import errno
import struct
from typing import Any

import pytest

from suture.process import syscall, x86_64
from suture.process.stop import seccomp
from suture.process.stop.seccomp import allows
from suture.process.syscall import Registers

ALLOW, LOG, KILL, ERRNO, TRAP, TRACE = 0x7FFF0000, 0x7FFC0000, 0, 0x00050000, 0x00030000, 0x7FF00000
RET, RET_A = (0x06, 0, 0), (0x16, 0, 0, 0)
DATA = struct.pack("<iIQ6Q", 219, 0xC000003E, 0x1122334455667788, *(0xA0000000B0 + n for n in range(6)))


def ret(value: int) -> tuple[int, int, int, int]:
    return (*RET, value)


def a(value: int) -> tuple[int, int, int, int]:
    return (0x00, 0, 0, value)


def x(value: int) -> tuple[int, int, int, int]:
    return (0x01, 0, 0, value)


def run(*program: tuple[int, int, int, int]) -> int:
    return seccomp._run(program, DATA)


def test_words_of_the_call_are_loaded() -> None:
    words = struct.unpack("<16I", DATA)
    assert [run((0x20, 0, 0, 4 * n), RET_A) for n in range(16)] == list(words)
    assert [run((0x21, 0, 0, 4 * n), (0x87, 0, 0, 0), RET_A) for n in (0, 15)] == [words[0], words[15]]
    for wrong in (1, 2, 61, 62, 64, 1 << 31):
        assert run(a(7), (0x20, 0, 0, wrong), ret(ALLOW)) == 0
    assert run((0x80, 0, 0, 0), RET_A) == 64
    assert run((0x81, 0, 0, 0), (0x87, 0, 0, 0), RET_A) == 64
    assert run(a(77), RET_A) == 77
    assert run(x(78), (0x87, 0, 0, 0), RET_A) == 78
    assert run((0x40, 0, 0, 0), ret(ALLOW)) == 0  # indirect loads are not for seccomp


def test_words_are_kept_in_memory() -> None:
    assert run(a(5), (0x02, 0, 0, 15), a(6), (0x60, 0, 0, 15), RET_A) == 5
    assert run(x(5), (0x03, 0, 0, 0), (0x61, 0, 0, 0), (0x87, 0, 0, 0), RET_A) == 5
    assert run(x(5), a(9), (0x03, 0, 0, 3), (0x60, 0, 0, 3), RET_A) == 5
    assert run((0x60, 0, 0, 7), RET_A) == 0
    for kind in (0x02, 0x03, 0x60, 0x61):
        assert run((kind, 0, 0, 16), ret(ALLOW)) == 0
    assert run((0x07, 0, 0, 0), (0x87, 0, 0, 0), RET_A) == 0
    assert run(a(3), (0x07, 0, 0, 0), a(4), (0x87, 0, 0, 0), RET_A) == 3


@pytest.mark.parametrize(
    ("op", "first", "second", "result"),
    [
        (0x00, 5, 3, 8),
        (0x00, 0xFFFFFFFF, 2, 1),
        (0x10, 5, 3, 2),
        (0x10, 3, 5, 0xFFFFFFFE),
        (0x20, 5, 3, 15),
        (0x20, 1 << 31, 2, 0),
        (0x30, 17, 5, 3),
        (0x40, 5, 3, 7),
        (0x50, 6, 3, 2),
        (0x60, 5, 3, 40),
        (0x60, 3, 31, 1 << 31),
        (0x70, 40, 3, 5),
        (0x70, 1 << 31, 31, 1),
        (0x80, 5, 9, 0xFFFFFFFB),
        (0xA0, 5, 3, 6),
    ],
)
def test_numbers_are_calculated_in_32_bits(op: int, first: int, second: int, result: int) -> None:
    assert run(a(first), (0x04 | op, 0, 0, second), RET_A) == result
    assert run(a(first), x(second), (0x0C | op, 0, 0, 99), RET_A) == result


def test_what_cannot_be_calculated_ends_the_program() -> None:
    for op, second in ((0x30, 0), (0x60, 32), (0x70, 32), (0x90, 3), (0xB0, 3), (0xF0, 1)):
        assert run(a(5), (0x04 | op, 0, 0, second), ret(ALLOW)) == 0
        assert run(a(5), x(second), (0x0C | op, 0, 0, 3), ret(ALLOW)) == 0


@pytest.mark.parametrize(
    ("op", "true", "false"),
    [
        (0x10, [(5, 5)], [(5, 4), (4, 5)]),
        (0x20, [(5, 4)], [(5, 5), (4, 5)]),
        (0x30, [(5, 4), (5, 5)], [(4, 5)]),
        (0x40, [(6, 2), (5, 4)], [(5, 2), (0, 0)]),
    ],
)
def test_jumps_go_by_what_is_true(op: int, true: list[tuple[int, int]], false: list[tuple[int, int]]) -> None:
    ends = [ret(1), ret(2), ret(3), ret(4)]
    for pairs, wanted in ((true, 2), (false, 4)):
        for first, second in pairs:
            assert run(a(first), (0x05 | op, 1, 3, second), *ends) == wanted
            assert run(a(first), x(second), (0x0D | op, 1, 3, 99), *ends) == wanted
    assert run((0x05, 0, 0, 2), *ends) == 3
    assert run((0x05, 0, 0, 0), *ends) == 1


def test_what_runs_out_of_the_program_or_has_no_end_kills() -> None:
    assert run() == 0
    assert run(a(ALLOW)) == 0
    assert run((0x05, 0, 0, 1), ret(ALLOW)) == 0
    assert run((0x05, 0, 0, -1)) == 0  # no filter goes back; one that did would have no end
    assert run((0x05, 0, 0, -3), ret(ALLOW)) == 0
    assert run(*[a(0)] * ((1 << 15) - 1), ret(ALLOW)) == ALLOW
    assert run(*[a(0)] * (1 << 15), ret(ALLOW)) == 0


def test_the_call_is_described_as_the_kernel_describes_it() -> None:
    registers = Registers(rdi=1, rsi=2, rdx=3, r10=4, r8=5, r9=6, rip=0x1234, rax=9)
    assert seccomp._seccomp_data(registers, 219) == struct.pack("<iIQ6Q", 219, 0xC000003E, 0x1234, 1, 2, 3, 4, 5, 6)


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> Any:
    """Whether the filters of a thread allow restart_syscall; an OSError in their place is what reading them gives."""

    def asked(*filters: Any) -> bool:
        def read(tid: int, index: int) -> Any:
            assert tid == 7
            if index >= len(filters):
                raise FileNotFoundError
            if isinstance(filters[index], OSError):
                raise filters[index]
            return filters[index]

        monkeypatch.setattr(syscall, "get_seccomp_filter", read)
        return allows(7, Registers(rdi=1), x86_64.SYS_RESTART_SYSCALL)

    return asked


def only(number: int) -> list[tuple[int, int, int, int]]:
    return [(0x20, 0, 0, 0), (0x15, 0, 1, number), ret(ALLOW), ret(KILL)]


def test_all_filters_must_allow_the_call(asked: Any) -> None:
    assert asked(only(219))
    assert not asked(only(218))
    assert asked(only(219), only(219))
    assert not asked(only(219), only(5))
    assert not asked(only(5), only(219))
    assert asked([ret(LOG)]) and asked([ret(ALLOW | 7)])
    for action in (KILL, ERRNO | 1, TRAP, TRACE, 0x80000000, 0x7FC00000):
        assert not asked([ret(action)])


def test_what_cannot_be_read_does_not_allow_it(asked: Any) -> None:
    assert asked()
    assert asked(OSError(errno.EINVAL, "no filter"))
    assert not asked(OSError(errno.EACCES, "not root"))
    assert not asked(only(219), OSError(errno.EPERM, "taken away"))
    assert asked(*[only(219)] * 63)
    assert not asked(*[only(219)] * 64)
