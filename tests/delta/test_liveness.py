"""Registers that instructions read and set, from the SDM's pages of them; and the solution of small flows, found
again by following all paths."""

from __future__ import annotations

import random
from collections.abc import Sequence

import pytest

from suture.delta import liveness
from suture.delta.liveness import (
    ALL,
    RAX,
    Effect,
    Flow,
    FlowStep,
    Leaving,
    Place,
    decode,
    live_registers,
    register_names,
)

ST = "st"


def effect(code: str) -> Effect:
    (step,) = decode(bytes.fromhex(code), 3, 0x40)
    assert (step.section, step.offset, step.size) == (3, 0x40, len(bytes.fromhex(code)))
    return step.effect


def names(units: int) -> str:
    return " ".join(register_names(units))


# code, what it reads, sets whole, and may change
EFFECTS = [
    ("4889c8", "rcx", "rax", "rax"),  # mov rcx, rax
    ("89c8", "rcx", "rax", "rax"),  # a write of 32 bits clears the others
    ("6689c8", "rcx", "", "rax"),
    ("88c8", "rcx", "", "rax"),
    ("88cc", "rcx", "", "rax"),  # ah
    ("4589c8", "r9", "r8", "r8"),
    ("664589c8", "r9", "", "r8"),
    ("4588c8", "r9", "", "r8"),
    ("4d89da", "r11", "r10", "r10"),
    ("4489de", "r11", "rsi", "rsi"),
    ("4088fe", "rdi", "", "rsi"),  # sil
    ("6689fe", "rdi", "", "rsi"),
    ("88d7", "rdx", "", ""),  # bh is kept by callees
    ("488b07", "rdi", "rax", "rax"),
    ("488b048a", "rcx rdx", "rax", "rax"),
    ("488907", "rax rdi", "", ""),
    ("4801c8", "rax rcx", "rax", "rax"),
    ("31c0", "", "rax", "rax"),  # xor eax, eax does not depend on it
    ("4829c9", "", "rcx", "rcx"),
    ("19c0", "", "rax", "rax"),
    ("31c8", "rax rcx", "rax", "rax"),
    ("3107", "rax rdi", "", ""),
    ("3307", "rax rdi", "rax", "rax"),
    ("83c8ff", "", "rax", "rax"),  # or -1
    ("4883c8ff", "", "rax", "rax"),
    ("83c8fe", "rax", "rax", "rax"),
    ("83e000", "", "rax", "rax"),  # and 0
    ("83e001", "rax", "rax", "rax"),
    ("83e0ff", "rax", "rax", "rax"),
    ("83c800", "rax", "rax", "rax"),
    ("0d00000080", "rax", "rax", "rax"),
    ("0cff", "", "", "rax"),
    ("8327ff", "rdi", "", ""),
    ("0f44c1", "rcx", "", "rax"),  # cmov may leave it, which is no reading: what lives behind it lives before it
    ("0fbcc1", "rcx", "", "rax"),  # so may bsf and bsr
    ("0fbdc1", "rcx", "", "rax"),
    ("f30fbcc1", "rcx", "rax", "rax"),  # tzcnt
    ("480fb1d1", "rax rcx rdx", "", "rax rcx"),  # cmpxchg rdx, rcx
    ("f0480fb117", "rax rdx rdi", "", "rax"),
    ("f7e1", "rax rcx", "rax rdx", "rax rdx"),  # mul
    ("99", "rax", "rax rdx", "rax rdx"),  # cdq
    ("0fa2", "rax rcx", "rax rcx rdx", "rax rcx rdx"),
    ("0f05", "rax rdx rsi rdi r8 r9 r10", "rax rcx r11", "rax rcx r11"),
    ("0f34", "rax rdx rsi rdi r8 r9 r10", "rax rcx r11", "rax rcx r11"),
    ("f3a4", "rcx rsi rdi", "rcx rsi rdi", "rcx rsi rdi"),  # rep movsb
    ("58", "", "rax", "rax"),
    ("50", "rax", "", ""),
    ("90", "", "", ""),
    ("f30f1efa", "", "", ""),
    ("0f31", "", "rax rdx", "rax rdx"),  # rdtsc
    ("0f28c1", "xmm1", "xmm0", "xmm0"),  # movaps
    ("660f6fc1", "xmm1", "xmm0", "xmm0"),
    ("660f70c11b", "xmm1", "xmm0", "xmm0"),  # pshufd
    ("0f57c0", "", "xmm0", "xmm0"),  # xorps xmm0, xmm0
    ("660fefc0", "", "xmm0", "xmm0"),
    ("660f76c0", "", "xmm0", "xmm0"),  # pcmpeqd
    ("660ff9c0", "", "xmm0", "xmm0"),
    ("0f58c1", "xmm0 xmm1", "", "xmm0"),  # addps
    ("f30f10c1", "xmm0 xmm1", "", "xmm0"),  # movss from a register keeps the rest
    ("f30f1007", "rdi", "xmm0", "xmm0"),
    ("f20f10c1", "xmm0 xmm1", "", "xmm0"),
    ("f20f1007", "rdi", "xmm0", "xmm0"),
    ("f30f2ac1", "rcx", "", "xmm0"),  # cvtsi2ss
    ("660f6ec1", "rcx", "xmm0", "xmm0"),
    ("f30f7ec1", "xmm1", "xmm0", "xmm0"),
    ("0f1307", "xmm0 rdi", "", ""),
    ("0f1207", "rdi xmm0", "", "xmm0"),  # movlps keeps the upper half
    ("c5f828c1", "xmm1", "xmm0 ymm0", "xmm0 ymm0"),  # a VEX write clears what lies above
    ("c5fc28c1", "xmm1 ymm1", "xmm0 ymm0", "xmm0 ymm0"),
    ("c5f057c9", "", "xmm1 ymm1", "xmm1 ymm1"),  # vxorps
    ("c5f1efc9", "", "xmm1 ymm1", "xmm1 ymm1"),
    ("c5f1efca", "xmm1 xmm2", "xmm1 ymm1", "xmm1 ymm1"),
    ("c5f877", "", "*ymm", "*ymm"),  # vzeroupper
    ("c5fc77", "", "*xmm *ymm", "*xmm *ymm"),  # vzeroall
    ("c5f992c8", "rax", "k1", "k1"),  # kmovb
    ("c5f890ca", "k2", "k1", "k1"),  # kmovw
    ("d9c0", ST, "", ST),
    ("d8c1", ST, "", ST),
    ("0f6fc1", ST, "", ST),  # mmx
    ("d93f", "rdi " + ST, "", ST),
]  # fmt: skip


@pytest.mark.parametrize(("code", "read", "whole", "changed"), EFFECTS)
def test_what_an_instruction_reads_and_sets(code: str, read: str, whole: str, changed: str) -> None:
    def units(text: str) -> set[str]:
        every = {"*xmm": [f"xmm{n}" for n in range(16)], "*ymm": [f"ymm{n}" for n in range(16)]}
        return {r for word in text.split() for r in every.get(word, [word])}

    found = effect(code)
    assert {*register_names(found.read)} == units(read)
    assert {*register_names(found.set)} == units(whole)
    assert {*register_names(found.changed)} == units(changed)


def test_a_gather_keeps_what_its_mask_leaves_out() -> None:
    found = effect("c4e27592048f")  # vgatherdps
    assert {"xmm0"} <= {*register_names(found.changed)}
    assert found.set == 0


FLOWS = [
    ("90", Flow.NEXT, None),
    ("c3", Flow.RETURN, None),
    ("c20800", Flow.RETURN, None),
    ("48cf", Flow.RETURN, None),
    ("0f0b", Flow.STOP, None),
    ("0fb9", Flow.STOP, None),
    ("f4", Flow.STOP, None),
    ("e805000000", Flow.CALL, 10),
    ("ffd0", Flow.CALL, None),
    ("ff10", Flow.CALL, None),
    ("eb05", Flow.JUMP, 7),
    ("ebfe", Flow.JUMP, 0),
    ("e900010000", Flow.JUMP, 0x105),
    ("ffe0", Flow.JUMP, None),
    ("3effe0", Flow.JUMP, None),
    ("7405", Flow.BRANCH, 7),
    ("0f8400010000", Flow.BRANCH, 0x106),
    ("e205", Flow.BRANCH, 7),
    ("e305", Flow.BRANCH, 7),
    ("f2e905000000", Flow.JUMP, 11),
]


@pytest.mark.parametrize(("code", "flow", "relative"), FLOWS)
def test_where_control_goes(code: str, flow: Flow, relative: int | None) -> None:
    found = effect(code)
    assert (found.flow, found.relative) == (flow, relative)


def test_bytes_that_do_not_decode_may_do_anything() -> None:
    first, last = decode(bytes.fromhex("90 06 90"), 2, 0x10)
    assert first == FlowStep(2, 0x10, 1, effect("90"))
    assert last == FlowStep(2, 0x11, 2, Effect(ALL, 0, ALL, Flow.STOP, None))
    assert list(decode(b"", 0, 0)) == []


def test_every_register_has_a_bit_of_its_own() -> None:
    everything = register_names(ALL)
    assert everything == (
        "rax", "rcx", "rdx", "rsi", "rdi", "r8", "r9", "r10", "r11",
        *(f"xmm{n}" for n in range(32)), *(f"ymm{n}" for n in range(32)), *(f"k{n}" for n in range(8)), "st",
    )  # fmt: skip
    assert ALL.bit_count() == len(everything) == 82
    assert register_names(0) == ()
    assert names(RAX) == "rax"
    assert [names(a) for a in liveness.INTEGER_ARGUMENTS] == ["rdi", "rsi", "rdx", "rcx", "r8", "r9"]
    assert [names(a) for a in liveness.VECTOR_ARGUMENTS] == [f"xmm{n} ymm{n}" for n in range(8)]
    assert names(liveness.RETURN_REGISTERS) == "rax rdx xmm0 xmm1 ymm0 ymm1 st"
    wanted = {"rdi", "rsi", "rdx", "rcx", "r8", "r9", "r10", *(f"{v}mm{n}" for v in "xy" for n in range(8))}
    assert {*register_names(liveness.ANY_ARGUMENT)} == wanted


def step(at: int, flow: Flow = Flow.NEXT, read: int = 0, whole: int = 0, section: int = 0) -> FlowStep:
    return FlowStep(section, at, 1, Effect(read, whole, whole, flow, None))


A, B, C = 1, 2, 4


def solved(
    steps: Sequence[FlowStep],
    jumps: dict[int, list[Place]] | None = None,
    leaves: dict[int, Leaving] | None = None,
    at_return: int = 0,
) -> tuple[list[int], list[int]]:
    before, behind = live_registers(
        steps, lambda s: (jumps or {}).get(s.offset, []), lambda s: (leaves or {}).get(s.offset), at_return
    )
    return [before[s.section, s.offset] for s in steps], [behind[s.section, s.offset] for s in steps]


def test_a_register_lives_from_where_it_is_set_to_where_it_is_read_last() -> None:
    steps = [step(0, whole=A), step(1), step(2, read=A), step(3, Flow.RETURN)]
    assert solved(steps) == ([0, A, A, 0], [A, A, 0, 0])
    assert solved(steps, at_return=B) == ([B, A | B, A | B, B], [A | B, A | B, B, 0])
    assert solved([step(0, read=A, whole=A), step(1, Flow.RETURN, read=C)], at_return=A) == ([A | C, A | C], [A | C, 0])


def test_nothing_is_live_behind_what_never_goes_on() -> None:
    assert solved([step(0, Flow.STOP), step(1, read=A)]) == ([0, A], [0, 0])
    assert solved([step(0, Flow.RETURN), step(1, read=A)], at_return=B) == ([B, A], [0, 0])
    assert solved([step(0, Flow.JUMP), step(1, read=A)]) == ([0, A], [0, 0])
    # steps that do not follow one another, and other sections
    assert solved([step(0), step(2, read=A)]) == ([0, A], [0, 0])
    assert solved([step(0), step(1, read=A, section=1)]) == ([0, A], [0, 0])


def test_a_branch_needs_what_either_way_needs() -> None:
    steps = [step(0, Flow.BRANCH), step(1, read=A), step(2, Flow.RETURN), step(3, Flow.RETURN, read=B)]
    assert solved(steps, {0: [(0, 3)]}) == ([A | B, A, 0, B], [A | B, 0, 0, 0])
    assert solved(steps, {0: [(0, 99), (7, 3)]})[0] == [A, A, 0, B]
    # one that may leave does not lose what the other way needs, and reads what the way out reads
    assert solved(steps, {0: [(0, 3)]}, {0: Leaving(C, ALL)})[0] == [A | B | C, A, 0, B]


def test_a_call_reads_its_arguments_and_loses_what_it_may_change() -> None:
    steps = [step(0, Flow.CALL), step(1, Flow.RETURN, read=A | B)]
    assert solved(steps, leaves={0: Leaving(C, A)}) == ([B | C, A | B], [A | B, 0])
    assert solved(steps) == ([A | B, A | B], [A | B, 0])
    jump = [step(0, Flow.JUMP), step(1, read=A)]
    assert solved(jump, leaves={0: Leaving(C, ALL)}) == ([C, A], [0, 0])
    assert solved(jump, {0: [(0, 1)]})[0] == [A, A]
    # nothing else is asked whether it leaves
    assert solved([step(0), step(1, Flow.RETURN)], leaves={0: Leaving(C, 0), 1: Leaving(C, 0)})[0] == [0, 0]


def test_a_loop_keeps_what_it_reads_in_its_next_round() -> None:
    steps = [
        step(0, whole=A),
        step(1, read=B),
        step(2, read=A),
        step(3, whole=B),
        step(4, Flow.BRANCH),
        step(5, Flow.RETURN),
    ]
    assert solved(steps, {4: [(0, 1)]}) == ([B, A | B, A, A, A | B, 0], [A | B, A, A, A | B, A | B, 0])


def along_paths(steps: Sequence[FlowStep], follow: dict[int, list[int]], at: int) -> int:
    """What is read before it is set on some way from a step on."""
    live = 0
    seen: set[tuple[int, int]] = set()
    waiting = [(at, 0)]
    while waiting:
        here, gone = waiting.pop()
        if (here, gone) in seen:
            continue
        seen.add((here, gone))
        e = steps[here].effect
        live |= e.read & ~gone
        waiting += [(n, gone | e.set) for n in follow[here]]
    return live


@pytest.mark.parametrize("seed", range(25))
def test_the_solution_is_what_following_all_paths_finds(seed: int) -> None:
    rng = random.Random(seed)
    count = rng.randrange(2, 10)
    steps, jumps, follow = [], {}, {}
    for n in range(count):
        flow = rng.choice([Flow.NEXT, Flow.NEXT, Flow.BRANCH, Flow.JUMP, Flow.RETURN])
        steps.append(step(n, flow, rng.randrange(16), rng.randrange(16)))
        jumps[n] = [(0, rng.randrange(count))] if flow in (Flow.BRANCH, Flow.JUMP) else []
        follow[n] = [o for _, o in jumps[n]]
        if flow in (Flow.NEXT, Flow.BRANCH) and n + 1 < count:
            follow[n].append(n + 1)
    before, _ = solved(steps, jumps)
    assert before == [along_paths(steps, follow, n) for n in range(count)]


def test_bytes_that_are_no_instruction_stop_and_may_change_everything() -> None:
    (only,) = decode(b"\x06\x90", 3, 0x40)
    assert (only.offset, only.size, only.effect) == (0x40, 2, Effect(ALL, 0, ALL, Flow.STOP, None))
    assert [(s.offset, s.size) for s in decode(b"\x06", 3, 0x40)] == [(0x40, 1)]
    assert [(s.offset, s.size, s.effect.flow) for s in decode(b"\x90\x06\x90", 3, 0)] == [
        (0, 1, Flow.NEXT),
        (1, 2, Flow.STOP),
    ]
    assert list(decode(b"", 3, 0)) == []
