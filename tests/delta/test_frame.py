"""Unwind information by code section, as readelf shows it and as hand-made sections have it."""

from __future__ import annotations

import pytest

from suture.delta.frame import Frame, frames
from suture.elf.call_frame import BadCallFrame
from suture.elf.file import ElfFile
from tests.delta.compiled import object_of

CXX = """
extern "C" { int outside(int); int plain(int x) { return outside(x) + 1; } }
struct M { ~M() { outside(7); } };
extern "C" int cleans(int x) { M m; return outside(x) + 1; }
"""


def by_name(elf: ElfFile) -> dict[str, tuple[Frame, ...]]:
    return {elf.sections[i].name: rows for i, rows in frames(elf).items()}


def test_each_code_section_has_its_frames() -> None:
    elf = ElfFile(object_of(CXX, suffix=".cc"))
    found = by_name(elf)
    (plain,) = found[".text.plain"]
    section = elf.section(".text.plain")
    assert section is not None
    assert (plain.start, plain.size, plain.personality, plain.table) == (0, section.sh_size, "", None)
    (cleans,) = found[".text.cleans"]
    assert cleans.personality == "__gxx_personality_v0"
    assert (
        cleans.table is not None
        and elf.sections[cleans.table[0]].name.startswith(".gcc_except_table")
        and cleans.table[1] == 0
    )
    assert cleans.common.augmented and plain.instructions


ASM = """
.section .text.f,"ax"
g: .cfi_startproc
nop
.cfi_endproc
f: .cfi_startproc
nop
ret
.cfi_endproc
"""


def test_several_frames_of_a_section_are_in_order() -> None:
    (rows,) = frames(ElfFile(object_of(ASM, suffix=".s"))).values()
    assert [(f.start, f.size) for f in rows] == [(0, 1), (1, 2)]
    turned = (
        '.section .text.f,"ax"\nnop; nop; nop\n.section .eh_frame,"a",@progbits\n'
        + CIE
        + "".join(
            f".long 2f - 1f\n1: .long 1b - c\n.long .text.f + {at} - .\n.long {size}\n.byte 0, 0, 0, 0\n2:\n"
            for at, size in ((1, 2), (0, 1))
        )
    )
    (rows,) = frames(
        ElfFile(
            object_of(
                turned.replace(".text.f +", "base +").replace("nop; nop; nop", "base: nop; nop; nop"), suffix=".s"
            )
        )
    ).values()
    assert [(f.start, f.size) for f in rows] == [(0, 1), (1, 2)]


CIE = 'c: .long 2f - 1f\n1: .long 0\n.byte 1\n.string "zR"\n.byte 1, 0x78, 16, 1, 0x1b, 0, 0, 0\n2:\n'
PERSONAL = (
    'c: .long 2f - 1f\n1: .long 0\n.byte 1\n.string "zPLR"\n.byte 1, 0x78, 16, 7, 0x9b\n.long {0}\n'
    ".byte 0x1b, 0x1b, 0\n2:\n"
)
ENTRY = ".long 2f - 1f\n1: .long 1b - c\n.long {0}\n.long 1\n.byte {1}\n{2}\n.byte 0, 0, 0\n2:\n"


def by_hand(cie: str, entry: str) -> tuple[Frame, ...]:
    text = (
        '.section .text.f,"ax"\nf: nop\n.section .mine,"a",@progbits\nt: .long 1, 2\n.section .eh_frame,"a",@progbits\n'
        + cie
        + entry
    )
    (rows,) = frames(ElfFile(object_of(text, suffix=".s"))).values()
    return rows


def test_handlers_by_hand() -> None:
    (frame,) = by_hand(PERSONAL.format("routine - ."), ENTRY.format("f - .", 4, ".long t + 4 - ."))
    assert (frame.personality, frame.table and frame.table[1]) == ("routine", 4)
    (frame,) = by_hand(PERSONAL.format("DW.ref.routine - ."), ENTRY.format("f - .", 4, ".long 0"))
    assert (frame.personality, frame.table) == ("routine", None)


@pytest.mark.parametrize(
    ("cie", "entry", "message"),
    [
        (CIE, ENTRY.format("outside - .", 0, ""), "an entry of .eh_frame for no section"),
        (CIE, ENTRY.format("0", 0, ""), "an entry of .eh_frame for no section"),
        (PERSONAL.format("0"), ENTRY.format("f - .", 4, ".long 0"), "a personality of .eh_frame without a name"),
        (
            PERSONAL.format("r - ."),
            ENTRY.format("f - .", 4, ".long outside - ."),
            "an entry of .eh_frame whose table is in no section",
        ),
    ],
)
def test_what_is_not_whole_is_refused(cie: str, entry: str, message: str) -> None:
    with pytest.raises(BadCallFrame, match=message):
        by_hand(cie, entry)


def test_an_object_without_any_has_none() -> None:
    assert frames(ElfFile(object_of("int x;"))) == {}
