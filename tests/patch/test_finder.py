"""The finder's code: assembled by gas, searched against a plain loop, chained; entries of the runtime's function as gcc
makes them."""

from __future__ import annotations

import ctypes
import mmap
import random
import struct
import subprocess
from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest

from suture.elf.call_frame import BadCallFrame
from suture.elf.file import ElfFile
from suture.patch import finder
from suture.patch.finder import Described, Unmovable

SOURCE = """
 endbr64
 lea base(%rip),%rax        # load address of the patch
 mov %rdi,%rcx
 sub %rax,%rcx
 cmp $0x11111111,%rcx       # size of its text
 jae 9f
 lea rows(%rip),%r8
 xor %edx,%edx
 mov $0x22222222,%r9d       # number of rows
1: cmp %r9d,%edx            # the first row that begins behind the program counter is between edx and r9d
 jae 3f
 lea (%rdx,%r9),%r10d
 shr %r10d
 mov %r10,%r11
 shl $4,%r11
 cmp %ecx,(%r8,%r11)
 ja 2f
 lea 1(%r10),%edx
 jmp 1b
2: mov %r10d,%r9d
 jmp 1b
3: test %edx,%edx
 je 9f
 dec %edx
 shl $4,%rdx
 add %r8,%rdx
 cmp 4(%rdx),%ecx           # behind the end of what the row describes
 jae 9f
 mov (%rdx),%r9d
 add %rax,%r9
 xor %ecx,%ecx
 mov %rcx,(%rsi)            # bases->tbase, dbase, func
 mov %rcx,8(%rsi)
 mov %r9,16(%rsi)
 mov 8(%rdx),%edx
 add %rdx,%rax
 ret
9: jmp *next(%rip)
"""
RETURNS_7 = bytes.fromhex("f30f1efa b807000000 c3")


def test_the_code_is_what_the_assembler_makes_of_its_source(tmp_path: Path) -> None:
    (tmp_path / "finder.s").write_text(SOURCE)
    subprocess.run(["as", "finder.s", "-o", "finder.o"], check=True, cwd=tmp_path)
    elf = ElfFile.read(tmp_path / "finder.o")
    section = elf.section(".text")
    assert section is not None
    wanted = bytearray(elf.bytes_of(section))
    made = bytearray(finder.encode_finder(0, 0x11111111, 0, 0x22222222, 0)[: len(wanted)])
    rows = elf.relocations_by_section[section.index]
    assert [elf.symbols[r.symbol].name for r in rows] == ["base", "rows", "next"]
    for row in rows:
        made[row.r_offset : row.r_offset + 4] = wanted[row.r_offset : row.r_offset + 4] = bytes(4)
    assert made == wanted


class Memory:
    """One page to run code in: finder at 0, its continuation at 1024, table at 2048, next at 3840."""

    def __init__(self) -> None:
        protection = mmap.PROT_READ | mmap.PROT_WRITE | mmap.PROT_EXEC
        self.map = mmap.mmap(-1, 4096, mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS, protection)
        self.base = ctypes.addressof(ctypes.c_char.from_buffer(self.map))
        self.map[1024 : 1024 + len(RETURNS_7)] = RETURNS_7

    def fill(self, rows: Sequence[Described], limit: int) -> None:
        code = finder.encode_finder(0, limit, 2048, len(rows), 3840)
        assert len(code) == finder.FINDER_SIZE
        self.map[: len(code)] = code
        table = finder.encode_rows(rows)
        self.map[2048 : 2048 + len(table)] = table
        self.map[3840:3848] = struct.pack("<Q", self.base + 1024)

    def ask(self, pc: int) -> tuple[int, tuple[int, int, int]]:
        bases = (ctypes.c_uint64 * 3)(1, 2, 3)
        function = ctypes.CFUNCTYPE(ctypes.c_uint64, ctypes.c_uint64, ctypes.POINTER(ctypes.c_uint64))(self.base)
        return function(pc, bases), (bases[0], bases[1], bases[2])


@pytest.fixture
def memory() -> Iterator[Memory]:
    yield Memory()


def test_the_finder_finds_what_a_plain_loop_finds(memory: Memory) -> None:
    random.seed(1)
    for size in (0, 1, 2, 3, 7, 64, 100):
        points = sorted(random.sample(range(1, 3000), 2 * size))
        rows = [Described(points[2 * i], points[2 * i + 1], 5000 + i) for i in range(size)]
        memory.fill(rows, 3000)
        for at in [*range(3050), 1 << 31, 1 << 40]:
            found = next((r for r in rows if r.start <= at < r.end and at < 3000), None)
            answer, bases = memory.ask(memory.base + at)
            if found is None:
                assert (answer, bases) == (7, (1, 2, 3)), at
            else:
                assert answer == memory.base + found.entry and bases == (0, 0, memory.base + found.start)
        assert memory.ask(memory.base - 1)[0] == 7
        assert memory.ask(0)[0] == 7


def test_the_continuation_does_what_was_displaced_and_goes_on(memory: Memory) -> None:
    # mov $5,%ecx; mov $1,%eax ... then at the address behind: add %ecx,%eax; ret
    memory.map[3000:3003] = bytes.fromhex("01c8c3")
    displaced = bytes.fromhex("b905000000 b802000000 4883c000")
    code = finder.encode_continuation(displaced, memory.base + 3000)
    assert len(code) == finder.CONTINUATION_SIZE
    memory.map[0 : len(code)] = code
    assert memory.ask(0)[0] == 7
    assert finder.displaced_by(code, memory.base + 3000 - len(displaced)) == displaced
    assert finder.displaced_by(code, memory.base + 2999 - len(displaced)) is None
    memory.map[0:14] = hook = finder.encode_hook(memory.base + 1024)
    assert memory.ask(0)[0] == 7 and finder.hook_target(hook) == memory.base + 1024
    assert finder.hook_target(code) is None and finder.hook_target(hook[:13]) is None


# the first bytes of _Unwind_Find_FDE in libgcc_s of gcc 10.2.1-6, 12.2.0-14, 14.2.0-19 and 16.2.0-4, as objdump shows
# them
ENTRIES = [
    ("41574156 4989fe 4155 4154 55 4889f5 53 4883ec38 8b054e620000", (0, 15)),
    ("f30f1efa 4157 4156 4155 4154 4989f4 55 4889fd 53 4881ecb8000000", (4, 15)),
    ("f30f1efa 4157 4156 4155 4154 55 53 4889fb 4881ecf8000000 4889742410", (4, 20)),
    ("f30f1efa 4881ec28010000 48899c24f8000000 488d8c2490000000", (4, 15)),
]


@pytest.mark.parametrize(("code", "room"), ENTRIES, ids=["10", "12", "14", "16"])
def test_the_entries_that_gcc_makes_have_room_for_a_hook(code: str, room: tuple[int, int]) -> None:
    assert finder.entry_of(bytes.fromhex(code.replace(" ", "")).ljust(64, b"\x90")) == room


@pytest.mark.parametrize(
    "code",
    [
        "e800000000",
        "488d0500000000",
        "4881ec",
        "7405",
        "4a89742410",
        "4989742410",
        "c3",
        "83ec08",
        "4181ec00010000",
        "4883c408",
        "4881c400010000",
        "8cc0",
        "34c0",
        "488b4510",
        "89442510",
        "668bc0",
        "898424",
    ],
)
def test_an_instruction_that_may_depend_on_its_place_is_not_moved(code: str) -> None:
    with pytest.raises(Unmovable):
        finder.entry_of(bytes.fromhex("4157" + code).ljust(64, b"\xcc"))


def test_call_frame_information_that_lies_is_refused() -> None:
    for data in (b"\x04\0\0\0", b"\xff\xff\xff\xff" + bytes(12), struct.pack("<II", 8, 77) + bytes(4)):
        with pytest.raises(BadCallFrame):
            finder.count(data)
    assert finder.count(b"") == finder.count(bytes(4)) == 0


@pytest.mark.parametrize(
    ("code", "size"),
    [
        ("50", 1),
        ("57", 1),
        ("4157", 2),
        ("89e5", 2),
        ("4889e5", 3),
        ("488bc7", 3),
        ("8bc7", 2),
        ("31c0", 2),
        ("4831c0", 3),
        ("33c0", 2),
        ("4533c0", 3),
        ("4889742410", 5),
        ("488b842400010000", 8),
        ("8d442410", 4),
        ("4883ec38", 4),
        ("4881ec00010000", 7),
    ],
)
def test_instructions_that_do_the_same_elsewhere_are_moved_whole(code: str, size: int) -> None:
    raw = bytes.fromhex(code) + b"\x55" * 40
    # the rest of the room is pushes of one byte
    assert finder.entry_of(raw) == (0, max(14, size)) and len(bytes.fromhex(code)) == size
    assert finder.entry_of(b"\x55" * 13 + raw) == (0, 13 + size)


def frames(*rows: tuple[int, int], at: int) -> bytes:
    """An .eh_frame at distance `at` that describes (start, size)."""
    data = struct.pack("<II", 16, 0) + b"\1zR\0\1\x78\x10\1\x1b" + bytes(3)
    for start, size in rows:
        place = len(data)
        data += struct.pack("<IIiI", 16, place + 4, start - (at + place + 8), size) + bytes(4)
    return data


def test_what_is_described_is_sorted_with_the_place_of_its_entry() -> None:
    data = frames((0x900, 16), (1, 0x30), ((1 << 31) - 1, 1), at=0x400)
    assert finder.described(data, 0x400) == [
        Described(1, 0x31, 0x400 + 40),
        Described(0x900, 0x910, 0x400 + 20),
        Described((1 << 31) - 1, 1 << 31, 0x400 + 60),
    ]
    assert finder.count(data) == 3


@pytest.mark.parametrize("row", [(0, 16), (-1, 16), (0x900, 0), (0, 0)])
def test_an_entry_for_no_code_is_refused(row: tuple[int, int]) -> None:
    with pytest.raises(BadCallFrame, match="no code of the patch"):
        finder.described(frames((0x100, 8), row, at=0x400), 0x400)


def test_sizes_are_those_that_patches_in_memory_have() -> None:
    assert (finder.FINDER_SIZE, finder.CONTINUATION_SIZE, finder.ROW.size, finder.HOOK_SIZE) == (128, 64, 16, 14)


@pytest.mark.parametrize("code", ["83ec08", "4083ec08", "4483ec08", "4881c400010000", "4883c408", "4801ec", "4829ec"])
def test_only_a_constant_that_is_taken_from_the_whole_stack_pointer_is_known(code: str) -> None:
    """What stands behind it is known, so that the refusal is of this instruction."""
    with pytest.raises(Unmovable, match="unknown instruction"):
        finder.entry_of(bytes.fromhex(code) + b"\x55" * 40)
    assert finder.entry_of(bytes.fromhex("4883ec08") + b"\x55" * 40) == (0, 14)
