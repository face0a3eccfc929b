"""Who refers to an address. Every field of the code is judged by what its distance leads to, one by one."""

from __future__ import annotations

import random
import struct
import subprocess
from pathlib import Path

import pytest

from suture.make import caller
from suture.make.caller import ReferringField, places_that_refer
from suture.match.run import Run
from suture.number import Vaddr

SOURCE = """
__attribute__((noinline)) int wanted(int x) { __asm__(""); return x * 3; }
__attribute__((noinline)) int calls(int x) { return wanted(x) + 1; }
__asm__(".skip 256");
__attribute__((noinline)) int hands_on(int x) { return wanted(x + 1); }
int (*table[])(int) = {0, wanted, calls};
int (*taken(void))(int) { return wanted; }
"""


def built(folder: Path, *flags: str) -> Run:
    (folder / "a.c").write_text(SOURCE)
    argv = [
        "gcc",
        "-O2",
        "-fcf-protection=none",
        "-fno-toplevel-reorder",
        "-o",
        str(folder / "a.so"),
        str(folder / "a.c"),
        *flags,
    ]
    subprocess.run(argv, check=True)
    return Run.read(folder / "a.so")


def test_calls_jumps_addresses_and_tables_are_found(tmp_path: Path) -> None:
    run = built(tmp_path, "-shared", "-fPIC", "-fvisibility=hidden")
    known = {s.name: s for s in run.elf.symbols if s.has_section}
    wanted, table = known["wanted"].st_value, known["table"].st_value
    found = places_that_refer(run, Vaddr(wanted))
    assert found is not None
    assert found[0] == ReferringField(Vaddr(table + 8), False)
    code = {p.address: p.is_branch for p in found[1:]}
    text = subprocess.run(["objdump", "-d", tmp_path / "a.so"], capture_output=True, text=True, check=True).stdout
    lines = [line.split("\t") for line in text.splitlines() if line.count("\t") == 2 and f"{wanted:x} <wanted>" in line]
    shown = {}
    for address, raw, what in lines:
        size = len(raw.split())
        shown[int(address.strip(" :"), 16) + size - 4] = what.split()[0] in ("call", "jmp")
    assert code == shown
    assert sorted(code.values()) == [False, True, True]


def test_of_a_program_at_a_fixed_address_nothing_can_be_told(tmp_path: Path) -> None:
    (tmp_path / "m.c").write_text("int main(void) { return 0; }")
    subprocess.run(["gcc", "-no-pie", "-o", tmp_path / "m", tmp_path / "m.c"], check=True)
    assert places_that_refer(Run.read(tmp_path / "m"), Vaddr(0x401000)) is None


def slowly(code: bytes, target: int) -> list[int]:
    """Every field of four bytes that leads there, with what may stand between it and the end of its instruction."""
    found = []
    for at in range(len(code) - 3):
        value = struct.unpack_from("<i", code, at)[0]
        if any(at + 4 + after + value == target for after in (0, 1, 2, 4)) and (value or caller._is_branch(code, at)):
            found.append(at)
    return found


@pytest.mark.parametrize("seed", range(6))
def test_no_field_is_missed_and_no_other_is_found(seed: int) -> None:
    rng = random.Random(seed)
    size = rng.randrange(200, 216)
    target = rng.choice([0, 1, 100, 101, 102, 103, size, size + 900, -40])
    code = bytearray(rng.randbytes(size))
    for at in rng.sample(range(2, size - 3), 20):
        after = rng.choice([0, 1, 2, 3, 4, 5])
        struct.pack_into("<i", code, at, target - at - 4 - after)
        code[at - 1] = rng.choice([0xE8, 0xE9, 0x05, 0x84])
        code[at - 2] = rng.choice([0x0F, 0x8B])
    assert sorted(caller._leading(bytes(code), target)) == slowly(bytes(code), target)
    assert slowly(bytes(code), target)


def test_a_distance_of_nothing_counts_in_a_branch_alone() -> None:
    assert list(caller._leading(b"\xe8\0\0\0\0", 5)) == [1]
    assert list(caller._leading(b"\x05\0\0\0\0", 5)) == []
    assert list(caller._leading(b"\xc7\x0d\0\0\0\0\1\2\3\4", 10)) == []
    assert list(caller._leading(b"\xe8\0\0\0", 4)) == []


def test_branches_are_told_by_their_opcodes() -> None:
    def branch(head: str) -> bool:
        return caller._is_branch(bytes.fromhex(head) + bytes(4), len(head) // 2)

    for yes in ("e8", "e9", "0f80", "0f84", "0f8f", "90e8", "0fe9", "0f81"):
        assert branch(yes), yes
    for no in ("", "05", "84", "8b05", "0f05", "488d05", "0f85"[:2], "0f90", "eb", "e7", "ea", "8b84", "0f7f"):
        assert not branch(no), no
    # behind 0f, a byte that is a ModRM of a RIP-relative operand names no condition: mod 0, rm 5
    assert branch("0f85") and branch("0f8d")
    assert not caller._is_branch(b"\xe8\0\0\0\0", 0)
    assert not caller._is_branch(b"\x84" + bytes(4), 1)
