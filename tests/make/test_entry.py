"""The judge is the processor: diverted functions run through their thunks and must compute what they did before."""

from __future__ import annotations

import itertools
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from suture.elf.abi import R
from suture.make.entry import Entry, plan_entry
from suture.number import Vaddr
from suture.refusal import Refusal

# Loads a library, sends every function that can be diverted through its thunk, and prints what selftest() returns.
RUN = """
import ctypes, mmap, struct, sys
from pathlib import Path
from suture.elf.file import ElfFile
from suture.make.entry import Entry, plan_entry
path, divert = sys.argv[1], sys.argv[2] == "divert"
library = ctypes.CDLL(path)
maps = [line.split() for line in Path("/proc/self/maps").read_text().splitlines() if line.endswith(path)]
bias = min(int(m[0].split("-")[0], 16) for m in maps)
top = max(int(m[0].split("-")[1], 16) for m in maps)
elf = ElfFile.read(Path(path))
libc = ctypes.CDLL(None)
libc.mmap.restype = ctypes.c_void_p
libc.mmap.argtypes = [ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int, ctypes.c_int, ctypes.c_int, ctypes.c_long]
libc.mprotect.argtypes = [ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int]
# the nearest free megabyte above or below (MAP_FIXED_NOREPLACE): what the kernel has put where differs from run to run
places = (a for n in range(1, 1 << 9) for a in (top + (n << 21), (bias & ~4095) - (n << 21)))
room = next(a for a in places if libc.mmap(a, 1 << 20, 7, 0x100022, -1, 0) == a)
end, done = room, []
for symbol in elf.symbols if divert else ():
    if symbol.type != 2 or not symbol.has_section or symbol.name.startswith(("_",
        "selftest", "deregister", "register", "frame_dummy")):
        continue
    code = elf.read_at(symbol.st_value, symbol.st_size)
    plan = plan_entry(code, symbol.st_value)
    if not isinstance(plan, Entry):
        continue
    thunk = bytearray(plan.thunk)
    for r in plan.relocations:
        value = plan.symbols[r.symbol] + bias + r.r_addend
        if r.r_type == 1:
            struct.pack_into("<Q", thunk, r.r_offset, value)
        else:
            struct.pack_into("<i", thunk, r.r_offset, value - end - r.r_offset)
    ctypes.memmove(end, bytes(thunk), len(thunk))
    at = bias + symbol.st_value + plan.entry
    page = at & ~4095
    assert libc.mprotect(page, 8192, 7) == 0
    ctypes.memmove(at, b"\\xe9" + struct.pack("<i", end - at - 5), 5)
    end += len(thunk)
    done.append(symbol.name)
library.selftest.restype = ctypes.c_ulonglong
print(library.selftest(), *sorted(done))
"""


def results(library: Path) -> tuple[str, str, list[str]]:
    """What selftest() returns before and after diverting, and the diverted functions."""
    outputs = []
    for mode in ("plain", "divert"):
        done = subprocess.run(
            [sys.executable, "-c", RUN, str(library), mode], capture_output=True, text=True, check=False, timeout=20
        )
        assert done.returncode == 0, (mode, done.returncode, done.stderr)
        outputs.append(done.stdout.split())
    return outputs[0][0], outputs[1][0], outputs[1][1:]


def build(folder: Path, name: str, source: str, *flags: str) -> Path:
    path, library = folder / name, folder / "t.so"
    path.write_text(source)
    compiler = "g++" if name.endswith("cc") else "gcc"
    subprocess.run([compiler, "-shared", "-fPIC", "-Wl,-z,norelro", *flags, "-o", library, path], check=True)
    return library


SHAPES = """
#include <string.h>
#include <stdlib.h>
#define N __attribute__((noinline, noclone)) static
typedef unsigned long u;
static volatile int flag = 3; static long table[8] = {1, 2, 3, 4, 5, 6, 7, 8}; static u total;
    static float scale = 1.5f;
static u (*volatile hook)(u);
N u set(u x) { flag = 7; total += x; return flag; }
N u compare(u x) { if (flag == 3) return x + 1; return x * 3; }
N u early(u x) { if (!x) return 17; return table[x & 7] + early(x - 1); }
N u sw(u x) { switch (x % 9) { case 0: return 3; case 1: return x; case 2: return x * x; case 3: return total;
    case 4: return 77;
  case 5: return x ^ 0x55; case 6: return x + total; case 7: return 9; default: return ~x; } }
N u loop(const char *s) { u h = 5381; while (*s) h = h * 33 + (unsigned char)*s++; return h; }
N u tail(u x) { return sw(x + 1); }
N u indirect(u x) { return hook(x) + 1; }
N u tail_indirect(u x) { return hook(x); }
N u library(const char *s) { return strlen(s) + (u)atol(s); }
N u fp(u x) { scale *= 1.25f; return (u)(scale * x); }
N u many(u a, u b, u c, u d, u e, u f, u g, u h) { return a + 2*b + 3*c + 4*d + 5*e + 6*f + 7*g + 8*h + set(a); }
N u tls_like(u x) { static __thread u t; t += x; return t; }
N u frame(u n) { char b[n + 16]; memset(b, (int)n, n + 16); return b[n] + loop("x"); }
N u calls(void) { u a = loop("one"); return a + loop("two") + set(3); }
unsigned long long selftest(void) {
  u r = 1; hook = sw;
  for (u i = 0; i < 50; i++)
    r = r * 31 + set(i) + compare(i) + early(i & 15) + sw(i) + loop("suture") + tail(i) + indirect(i)
    + tail_indirect(i) + library("1234") + fp(i) + many(i,2,3,4,5,6,7,8) + tls_like(i) + frame(i) + calls(),
        flag = i & 3;
  return r;
}
"""


@pytest.mark.parametrize(
    "flags",
    [
        "-O0",
        "-O1",
        "-O2",
        "-O3 -march=x86-64-v3",
        "-Os",
        "-O2 -fcf-protection",
        "-O2 -fno-plt",
        "-O2 -ftls-model=global-dynamic",
    ],
)
def test_compiled_functions_compute_the_same_through_their_thunks(tmp_path: Path, flags: str) -> None:
    plain, diverted, names = results(build(tmp_path, "t.c", SHAPES, *flags.split()))
    assert plain == diverted
    assert len(names) >= 12, names


PIECES = [
    "cmpl $3, word(%rip)",
    "addq %rdi, word(%rip)",
    "movb $5, word+2(%rip)",
    "lea word(%rip), %rcx; add (%rcx), %rax",
    "imul $77, word(%rip), %edx",
    "test %dil, %dil; jz 9f",
    "test %dil, %dil; .byte 0x0f, 0x84; .long 9f - . - 4",
    "jmp 9f",
    "{disp32} jmp 9f",
    "call add_one",
    "bnd call add_one",
    "call *pointer(%rip)",
    "mov pointer(%rip), %r11; call *%r11",
    "lea pointer(%rip), %r10; notrack call *(%r10)",
    "push %rdi; pop %rdx; add %rdx, %rax",
    "movq word(%rip), %xmm0; palignr $4, word(%rip), %xmm0; movq %xmm0, %r9; add %r9, %rax",
    "data16 lea word(%rip), %rcx",
    "add %edi, %eax",
    "nop",
    "xor %edx, %edx",
]


def assembly() -> str:
    """One function for each ordered pair of pieces; selftest() calls all of them."""
    lines = [".text", "add_one: add $1, %rax; ret"]
    calls = []
    for number, (first, second) in enumerate(itertools.product(PIECES, repeat=2)):
        lines += [
            f".type f{number}, @function; .p2align 5",
            (
                f"f{number}: {first}; {second}; lea 3(%rax,%rdx), %rax; 9: lea 1(%rax,%rax), %rax; add word(%rip), "
                "%rax; ret"
            ),
            f".size f{number}, . - f{number}",
        ]
        calls.append(
            f"mov $7, %eax; mov $9, %edx; mov %ebx, %edi; call f{number}; lea (%r12,%r12,4), %r12; add %rax, %r12"
        )
    head = (
        ".globl selftest; .type selftest, @function; selftest: push %rbx; push %r12; sub $24, %rsp; mov $2, %ebx; "
        "xor %r12d, %r12d; 1:"
    )
    tail = "dec %ebx; jns 1b; mov %r12, %rax; add $24, %rsp; pop %r12; pop %rbx; ret; .size selftest, . - selftest"
    data = ".data; .p2align 4; word: .quad 3, 4; pointer: .quad add_one; .section .note.GNU-stack"
    return "\n".join([*lines, head, *calls, tail, data]) + "\n"


def test_every_pair_of_instruction_shapes_computes_the_same_through_its_thunk(tmp_path: Path) -> None:
    plain, diverted, names = results(build(tmp_path, "t.s", assembly()))
    assert plain == diverted
    # a call of two or three bytes that is followed by something short returns into the bytes to be overwritten
    assert len(names) > 0.9 * len(PIECES) ** 2


def test_an_exception_unwinds_through_a_call_that_was_displaced(tmp_path: Path) -> None:
    source = """
    static volatile int sink;
    extern "C" __attribute__((noinline)) void thrower(int x) { if (x & 1) throw x; sink++; }
    extern "C" __attribute__((noinline)) void middle(int x) { thrower(x); sink++; thrower(x + 1); sink++; }
    extern "C" unsigned long long selftest() { int r = 0; for (int i = 0; i < 8; i++) try { middle(i); }
        catch (int x) { r += x; } return r * 100 + sink; }
    """
    library = build(tmp_path, "t.cc", source, "-O2", "-Wl,-Bsymbolic", "-fno-stack-protector")
    plain, diverted, names = results(library)
    assert plain == diverted
    assert "middle" in names
    code = subprocess.run(
        ["objdump", "-d", "--disassemble=middle", library], capture_output=True, text=True, check=True
    ).stdout
    body = [line for line in code.splitlines() if "\t" in line]
    assert any("call" in line for line in body[:3]), (
        "the call must be among the displaced instructions, or this shows nothing"
    )


def refusal(code: str, address: int = 0x1000, targets: tuple[int, ...] = ()) -> str:
    plan = plan_entry(bytes.fromhex(code), Vaddr(address), targets)
    assert isinstance(plan, Refusal), plan
    assert plan.remedy
    return plan.reason


NOPS = "0f1f440000"


def test_a_function_shorter_than_a_jump_is_refused() -> None:
    assert "too short: 4 bytes" in refusal("31c0c390")
    assert isinstance(plan_entry(bytes.fromhex("31c0c39090"), Vaddr(0x1000)), Entry)


def test_endbr64_is_kept_and_counts_toward_the_needed_length() -> None:
    assert "too short: 8 bytes, a jump needs 9" in refusal("f30f1efa" + "909090c3")
    plan = plan_entry(bytes.fromhex("f30f1efa" + NOPS + "c3"), Vaddr(0x1000))
    assert isinstance(plan, Entry)
    assert (plan.entry, plan.displaced) == (4, 5)


LOOP = "31c09090ffcf" + "75fa" + "c3"  # xor eax,eax; nop; nop; dec edi; jne +2


def test_the_jump_goes_to_the_head_of_a_loop_when_what_stands_before_it_can_be_undone() -> None:
    plan = plan_entry(bytes.fromhex(LOOP), Vaddr(0x1000))
    assert isinstance(plan, Entry)
    assert (plan.entry, plan.displaced, plan.undo.hex()) == (2, 6, "b808000000")
    plan = plan_entry(bytes.fromhex("55" + "4889e5" + "9090ffcf" + "75fa" + "5dc3"), Vaddr(0x1000))
    assert isinstance(plan, Entry)
    assert (plan.entry, plan.undo.hex()) == (4, "5d")


def test_a_branch_into_the_overwritten_bytes_is_refused() -> None:
    assert "offset 2" in refusal("31c9" + LOOP[4:])  # xor ecx,ecx: an argument is lost
    assert "offset 4" in refusal("8b07" + NOPS + NOPS + "c3", targets=(4,))  # mov (%rdi),%eax may fault


def test_where_old_frames_go_on_a_branch_into_the_overwritten_bytes_or_to_the_jump_behind_a_lead_is_refused() -> None:
    plan = plan_entry(bytes.fromhex(LOOP), Vaddr(0x1000), relaxed=True)
    assert isinstance(plan, Refusal) and "offset 2" in plan.reason
    crossing = plan_entry(bytes.fromhex("554889e5" + NOPS + "5dc3"), Vaddr(0x1FFE), relaxed=True)
    assert isinstance(crossing, Entry) and crossing.entry == 4


def test_a_branch_to_the_entry_or_behind_the_jump_is_allowed() -> None:
    plan = plan_entry(bytes.fromhex("31c09090ffcf" + "75f8" + "c3"), Vaddr(0x1000))
    assert isinstance(plan, Entry)
    assert (plan.entry, plan.displaced, plan.undo) == (0, 6, b"")
    assert isinstance(plan_entry(bytes.fromhex(NOPS + "c3"), Vaddr(0x1000), (0, 5)), Entry)


def test_an_address_taken_of_an_overwritten_byte_is_refused() -> None:
    assert "offset 3" in refusal("488d05fcffffff" + "c3")


def test_entry_bytes_on_two_pages_are_refused_when_no_later_place_will_do() -> None:
    assert "straddles a page" in refusal("8b07" + "89c1" + NOPS + "c3", address=0x1FFE)  # mov (%rdi),%eax may fault
    assert isinstance(plan_entry(bytes.fromhex(NOPS + "c3"), Vaddr(0x1FFB)), Entry)
    assert "straddles a page" in refusal("f30f1efa" + "8b07" + "89c1" + NOPS + "c3", address=0x1FFA)


LEADS = [
    ("55" + "4889e5" + NOPS + "c3", 0x1FFE, 4, "5d"),  # push rbp; mov rsp,rbp
    ("55" + "4889e5" + NOPS + "c3", 0x1FFF, 1, "5d"),
    ("f30f1efa" + "55" + "4889e5" + NOPS + "c3", 0x1FF9, 8, "5d"),
    ("4154" + "53" + "4883ec18" + NOPS + "c3", 0x1FFD, 3, "5b415c"),  # push r12; push rbx; sub 24,rsp
    ("53" + "89fb" + NOPS + "c3", 0x1FFE, 3, "5b"),  # push rbx; mov edi,ebx
    ("4883ec18" + NOPS + "c3", 0x1FFD, 4, "488da42418000000"),
]


@pytest.mark.parametrize(("code", "address", "entry", "undo"), LEADS)
def test_a_jump_that_would_cross_a_page_goes_to_the_next_one(code: str, address: int, entry: int, undo: str) -> None:
    plan = plan_entry(bytes.fromhex(code), Vaddr(address))
    assert isinstance(plan, Entry)
    assert (plan.entry, plan.undo.hex()) == (entry, undo)
    assert (address + entry) // 4096 == (address + entry + 4) // 4096


ASKED_LATER = [
    "85ff" + "0f94c0" + NOPS + "c3",  # test edi, edi; sete al
    "85ff" + "7405" + NOPS + "c3",  # je
    "39f7" + "0f4cfe" + NOPS + "c3",  # cmp; cmovl
    "85ff" + "b801000000" + "0f44c7" + NOPS + "c3",  # mov between them
    "85ff" + "ffc0" + "7205" + NOPS + "c3",  # inc leaves the carry, and jc asks for it
]


@pytest.mark.parametrize("code", ASKED_LATER)
def test_the_jump_does_not_stand_between_what_compares_and_what_asks(code: str) -> None:
    """A stub on the way to the old code, which an applier that died leaves there, compares too."""
    assert "straddles a page" in refusal(code, address=0x1FFE)


@pytest.mark.parametrize(("code", "entry"), [("4883ec18" + "4885ff" + "7405", 4), ("85ff" + "e800000000" + "7405", 2)])
def test_flags_that_nobody_asks_for_are_in_no_jumps_way(code: str, entry: int) -> None:
    plan = plan_entry(bytes.fromhex(code + NOPS + "c3"), Vaddr(0x2000 - entry))
    assert isinstance(plan, Entry) and plan.entry == entry


def test_instructions_that_cannot_be_moved_are_refused() -> None:
    assert "loop" in refusal("e20490909090c3")
    assert "jrcxz" in refusal("e30490909090c3")
    assert "program counter" in refusal("678b0578563412c3")
    assert "xbegin" in refusal("c7f800000000c3")
    assert "stack pointer" in refusal("90909090ff542408c3")
    assert "returns into" in refusal("ffd090909090c3")


def test_bytes_that_do_not_decode_are_refused_wherever_they_are() -> None:
    assert "offset 6" in refusal(NOPS + "c3" + "06" + "c3")


def test_nothing_is_kept_behind_an_instruction_that_never_goes_on() -> None:
    plan = plan_entry(bytes.fromhex("31c0c3909090"), Vaddr(0x1000))
    assert isinstance(plan, Entry)
    assert plan.thunk == bytes.fromhex("31c0c3")
    assert plan.relocations == ()


def test_a_function_that_ends_with_its_displaced_bytes_falls_through_to_what_follows() -> None:
    plan = plan_entry(bytes.fromhex(NOPS), Vaddr(0x1000))
    assert isinstance(plan, Entry)
    assert plan.symbols == {".run+0x1005": 0x1005}
    assert [r.r_type for r in plan.relocations] == [R.PLT32]


@given(st.binary(min_size=0, max_size=40), st.integers(0x1000, 0x3000))
@settings(max_examples=300, deadline=None)
def test_any_bytes_give_a_plan_or_a_refusal(code: bytes, address: int) -> None:
    plan = plan_entry(code, Vaddr(address))
    if isinstance(plan, Entry):
        assert 5 <= plan.displaced <= len(code) - plan.entry
        assert all(0 <= r.r_offset <= len(plan.thunk) - 4 for r in plan.relocations)
        assert {r.symbol for r in plan.relocations} == set(plan.symbols)


def test_a_loop_or_a_transaction_that_leads_into_the_overwritten_bytes_is_refused() -> None:
    assert "offset 2" in refusal("8b07" + "90909090" + "e2fa" + "c3")  # loop
    assert "offset 3" in refusal("8b07" + "90909090" + "e3fb" + "c3")  # jrcxz
    assert "offset 2" in refusal("8b07" + "90909090" + "c7f8f6ffffff" + "c3")  # xbegin
    assert "offset 4" in refusal("8b07" + "90909090" + "e8f9ffffff" + "c3")  # call
