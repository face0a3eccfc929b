"""Tables about places in code: what of them goes into a patch, what makes functions differ, and what is refused.

The entries are those that the macros of Linux 6.1 write (asm/extable.h, bug.h, alternative.h, paravirt_types.h,
static_call_types.h, dynamic_debug.h, and objtool for .orc_unwind), put into small units by hand.
"""

from __future__ import annotations

import struct
from pathlib import Path

import pytest

from suture.elf.file import ElfFile
from suture.error import Unsupported
from suture.make_kernel.emit import emit
from suture.make_kernel.object import KernelObject
from suture.make_kernel.special_section import SectionEntry, SpecialSections, meaning
from tests.delta.compiled import object_of
from tests.make_kernel.test_select import BASE, change, reasons, selected, symbols

_PREFIX = "noinline int placed(int a)\n{\n"


def table(made: ElfFile, name: str) -> tuple[bytes, list[tuple[int, str, int]]]:
    """A section's bytes, and (offset, symbol or its section, addend) of its relocations."""
    section = made.section(name)
    if section is None:
        return b"", []
    rows = []
    for row in made.relocations_by_section.get(section.index, ()):
        symbol = made.symbols[row.symbol]
        where = symbol.name or made.sections[symbol.st_shndx].name
        rows.append((row.r_offset, where.removeprefix("section "), row.r_addend))
    return made.bytes_of(section), rows


def made_of(tmp_path: Path, old: str, new: str, name: str = "vmlinux") -> ElfFile:
    one = change(tmp_path, BASE + new, name, BASE + old)
    chosen = selected(one)
    assert not chosen.refused and [r.name for r in chosen.replaced] == ["placed"]
    return ElfFile(emit((one,), chosen))


def replaced(tmp_path: Path, old: str, new: str) -> list[str]:
    return [r.name for r in selected(change(tmp_path, BASE + new, old=BASE + old)).replaced]


_GUARDED = (
    _PREFIX
    + """\tasm goto("1: mov (%0), %%eax\\n.pushsection __ex_table,\\"a\\"\\n.balign 4\\n.long 1b - ."
\t\t", %l[bad] - ., TYPE\\n.popsection"
\t\t: : "r"(&things) : "eax", "memory" : bad);
\treturn outside(a) * 3;
bad:
\treturn -14;
}
"""
)


def test_an_exception_table_entry_comes_along_and_leads_from_and_to_new_code(tmp_path: Path) -> None:
    old, new = (_GUARDED.replace("TYPE", "3").replace("* 3", by) for by in ("* 3", "* 5"))
    made = made_of(tmp_path, old, new)
    data, rows = table(made, "__ex_table")
    assert len(data) == 12 and data[8:] == struct.pack("<I", 3)
    code = made.section(".text")
    assert code is not None and [(o, s) for o, s, _ in rows] == [(0, ".text"), (4, ".text")]
    start, handler = (addend for _, _, addend in rows)
    assert made.bytes_of(code)[start : start + 1] == b"\x8b" and start != handler < code.sh_size


def test_what_an_exception_does_makes_its_function_differ(tmp_path: Path) -> None:
    old, new = (_GUARDED.replace("TYPE", kind) for kind in ("3", "1"))
    assert replaced(tmp_path, old, new) == ["placed"]


_WARNING = (
    _PREFIX
    + """\tif (a > 5)
\t\tasm volatile("1: ud2\\n.pushsection __bug_table,\\"aw\\"\\n2: .long 1b - ., %c0 - .\\n"
\t\t\t".word LINE, FLAGS\\n.org 2b+12\\n.popsection"
\t\t\t: : "i"("unit.c"));
\treturn outside(a) * 3;
}
"""
)


def _warning(line: int, flags: int, by: int = 3) -> str:
    return _WARNING.replace("LINE", str(line)).replace("FLAGS", str(flags)).replace("* 3", f"* {by}")


def test_a_warning_that_moves_to_another_line_changes_nothing_and_another_kind_does(tmp_path: Path) -> None:
    assert replaced(tmp_path, _warning(10, 1), _warning(11, 1)) == []
    assert replaced(tmp_path, _warning(10, 1), _warning(10, 2307)) == ["placed"]


def test_a_warning_goes_in_with_its_line_and_the_name_of_its_file(tmp_path: Path) -> None:
    made = made_of(tmp_path, _warning(10, 1), _warning(11, 1, 5))
    data, rows = table(made, "__bug_table")
    assert struct.unpack("<HH", data[8:12]) == (11, 1)
    assert [(o, s) for o, s, _ in rows] == [(0, ".text"), (4, ".rodata")]
    strings = made.section(".rodata")
    # the addend of a field is its target's, as `.long X - .` has it
    assert strings is not None and made.bytes_of(strings)[rows[1][2] :].startswith(b"unit.c\0")


_PARAVIRT = (
    _PREFIX
    + """\tasm volatile("771: call *calls+8(%%rip)\\n772:\\n.pushsection .parainstructions,\\"a\\"\\n.balign 8\\n"
\t\t".quad 771b\\n.byte TYPE\\n.byte 772b-771b\\n.short 0\\n.balign 8\\n.popsection" : : : "memory");
\treturn outside(a) * 3;
}
void *calls[2] = { &things, &things };
"""
)


def test_a_site_of_paravirtualisation_goes_in(tmp_path: Path) -> None:
    old, new = (_PARAVIRT.replace("TYPE", "42").replace("* 3", by) for by in ("* 3", "* 5"))
    made = made_of(tmp_path, old, new)
    data, rows = table(made, ".parainstructions")
    assert len(data) == 16 and data[8:10] == bytes([42, 6])
    code = made.section(".text")
    ((offset, where, addend),) = rows
    assert (offset, where) == (0, ".text") and code is not None
    assert made.bytes_of(code)[addend : addend + 2] == b"\xff\x15"
    assert replaced(tmp_path, _PARAVIRT.replace("TYPE", "42"), _PARAVIRT.replace("TYPE", "43")) == ["placed"]


def test_the_last_site_of_paravirtualisation_in_a_unit_may_be_shorter_than_the_others(tmp_path: Path) -> None:
    """The macro of Linux 5.10 aligns each entry and fills none up."""
    old, new = (
        _PARAVIRT.replace("TYPE", "42").replace(".balign 8\\n.popsection", ".popsection").replace("* 3", by)
        for by in ("* 3", "* 5")
    )
    assert ".short 0\\n.popsection" in old
    data, _ = table(made_of(tmp_path, old, new), ".parainstructions")
    assert len(data) == 16 and data[8:10] == bytes([42, 6])


_STATIC_CALL = (
    "struct call_key { void *function; long b; } call_here; extern int trampoline(int);\n"
    + _PREFIX
    + """\tint sum;
\tasm volatile("1: call hidden\\n.pushsection .static_call_sites,\\"aw\\"\\n.balign 4\\n"
\t\t".long 1b - ., %c1 - .\\n.popsection"
\t\t: "=a"(sum) : "i"(&call_here) : "memory", "rcx", "rdx", "rsi", "rdi", "r8", "r9", "r10", "r11");
\treturn sum * 3 + a;
}
"""
)


def test_a_static_call_of_vmlinux_keeps_its_key(tmp_path: Path) -> None:
    made = made_of(tmp_path, _STATIC_CALL, _STATIC_CALL.replace("* 3", "* 5"))
    data, rows = table(made, ".static_call_sites")
    assert len(data) == 8 and [(o, s) for o, s, _ in rows] == [(0, ".text"), (4, ".klp.sym.vmlinux.call_here,0")]


def test_a_static_call_of_a_module_stays_a_call_of_its_trampoline(tmp_path: Path) -> None:
    made = made_of(tmp_path, _STATIC_CALL, _STATIC_CALL.replace("* 3", "* 5"), "ext4")
    assert made.section(".static_call_sites") is None
    assert ".klp.sym.ext4.hidden,0" in {s for _, s, _ in table(made, ".text")[1]}


_FEATURE = (
    "struct caps { char bits[64]; } caps;\n"
    + _PREFIX
    + """\tasm goto("771: jmp 6f\\n772:\\n.pushsection .altinstructions,\\"a\\"\\n"
\t\t".long 771b - ., 3f - .\\n.word ALWAYS\\n.byte 5, 5\\n.long 771b - ., 4f - .\\n"
\t\t".word 36\\n.byte 5, 0\\n.popsection\\n"
\t\t".pushsection .altinstr_replacement,\\"ax\\"\\n3: .byte 0xe9\\n.long %l[no] - . - 4\\n4:\\n.popsection\\n"
\t\t".pushsection .altinstr_aux,\\"ax\\"\\nFIRST\\n6: testb $2, caps+3(%%rip)\\njnz %l[yes]\\njmp %l[no]\\n.popsection"
\t\t: : : : yes, no);
yes:
\treturn outside(a) * 3;
no:
\treturn outside(a) * 4;
}
"""
)


def _feature(by: str = "* 3", first: str = "nop", always: str = "117") -> str:
    return _FEATURE.replace("* 3", by).replace("FIRST", first).replace("ALWAYS", always).replace("jmp 6f", "jmp.d32 6f")


def test_a_test_of_a_cpu_feature_goes_in_with_what_it_becomes(tmp_path: Path) -> None:
    made = made_of(tmp_path, _feature(), _feature("* 5"))
    assert len(table(made, ".altinstructions")[0]) == 24
    assert [(o, s) for o, s, _ in table(made, ".altinstr_replacement")[1]] == [(1, ".text")]
    assert made.section(".altinstr_aux") is None


def with_flags(code: str, flags: int) -> str:
    """The entries as Linux 6.12 has them."""
    for cpu in ("117", "36"):
        code = code.replace(f".word {cpu}\\n.byte", f".word {cpu}, {flags}\\n.byte")
    return code


def test_entries_with_flags_are_read_and_go_in_as_they_are(tmp_path: Path) -> None:
    old, new = (with_flags(_feature(by), 0) for by in ("* 3", "* 5"))
    made = made_of(tmp_path, old, new)
    assert len(table(made, ".altinstructions")[0]) == 28
    assert [(o, s) for o, s, _ in table(made, ".altinstr_replacement")[1]] == [(1, ".text")]


def test_an_alternative_for_all_other_cpus_does_not_count_as_written_over(tmp_path: Path) -> None:
    new, old = (BASE + with_flags(_feature(by), 1) for by in ("* 5", "* 3"))
    ((_, name, reason),) = reasons(change(tmp_path, new, old=old))
    assert name == "placed" and ".altinstr_aux" in reason


def test_where_the_first_test_of_a_feature_lies_makes_no_function_differ(tmp_path: Path) -> None:
    assert replaced(tmp_path, _feature(), _feature(first="nop; nop; nop")) == []


def test_a_jump_that_nothing_writes_over_for_certain_is_refused(tmp_path: Path) -> None:
    ((_, name, reason),) = reasons(
        change(tmp_path, BASE + _feature("* 5", always="36"), old=BASE + _feature(always="36"))
    )
    assert name == "placed" and ".altinstr_aux" in reason


_ALTERNATIVE_CALL = (
    _PREFIX
    + """\tint sum;
\tasm volatile("771: call hidden\\n772:\\n.pushsection .altinstructions,\\"a\\"\\n.long 771b - ., 3f - .\\n"
\t\t".word 36\\n.byte 5, 5\\n.popsection\\n.pushsection .altinstr_replacement,\\"ax\\"\\n3: call outside\\n.popsection"
\t\t: "=a"(sum) : "D"(a) : "memory", "rcx", "rdx", "rsi", "r8", "r9", "r10", "r11");
\treturn sum * 3;
}
"""
)


def test_an_alternative_between_two_functions_goes_in_for_vmlinux_and_is_refused_for_a_module(tmp_path: Path) -> None:
    made = made_of(tmp_path, _ALTERNATIVE_CALL, _ALTERNATIVE_CALL.replace("* 3", "* 5"))
    assert [s for _, s, _ in table(made, ".altinstr_replacement")[1]] == ["outside"]
    new, old = BASE + _ALTERNATIVE_CALL.replace("* 3", "* 5"), BASE + _ALTERNATIVE_CALL
    ((_, name, reason),) = reasons(change(tmp_path, new, "ext4", old))
    assert (name, reason) == ("placed", "refers to hidden of ext4 in an alternative")


_UNWOUND = (
    _PREFIX
    + """\tasm volatile("1:\\n.pushsection .orc_unwind_ip,\\"a\\"\\n.long 1b - .\\n.popsection\\n"
\t\t".pushsection .orc_unwind,\\"a\\"\\n.byte 8, 0, 240, 255, ROW, 2\\n.popsection");
\treturn outside(a) * 3;
}
noinline int other(int a)
{
\tasm volatile("1:\\n.pushsection .orc_unwind_ip,\\"a\\"\\n.long 1b - .\\n.popsection\\n"
\t\t".pushsection .orc_unwind,\\"a\\"\\n.byte 1, 1, 1, 1, 1, 1\\n.popsection");
\treturn outside(a) * 7;
}
"""
)


def test_rows_for_the_unwinder_come_along_for_new_code_alone(tmp_path: Path) -> None:
    old, new = (_UNWOUND.replace("ROW", "5").replace("* 3", by) for by in ("* 3", "* 5"))
    made = made_of(tmp_path, old, new)
    assert table(made, ".orc_unwind")[0] == bytes([8, 0, 240, 255, 5, 2])
    assert [(o, s) for o, s, _ in table(made, ".orc_unwind_ip")[1]] == [(0, ".text")]


_MESSAGE = """
struct message { const char *module, *function, *file, *format; unsigned line : 18, class : 6, flags : 8;
    long key[2]; };
noinline int placed(int a)
{
\tstatic struct message __attribute__((section("__dyndbg"), used)) __UNIQUE_ID_ddebugNUMBER =
\t\t{ "m", __func__, "unit.c", "TEXT", LINE, 63, 0 };
\tif (__UNIQUE_ID_ddebugNUMBER.key[0])
\t\treturn outside((long)&__UNIQUE_ID_ddebugNUMBER);
\treturn hidden(a) * 3;
}
"""


def _message(number: int, line: int, text: str = "told", by: int = 3) -> str:
    filled = _MESSAGE.replace("NUMBER", str(number)).replace("LINE", str(line)).replace("TEXT", text)
    return filled.replace("* 3", f"* {by}")


def test_a_debug_message_that_moves_to_another_line_stays_the_one_that_runs(tmp_path: Path) -> None:
    assert replaced(tmp_path, _message(512, 10), _message(513, 11)) == []
    one = change(tmp_path, BASE + _message(513, 11, by=5), old=BASE + _message(512, 10))
    assert not selected(one).refused
    assert any(s.startswith(".klp.sym.vmlinux.__UNIQUE_ID_ddebug512") for s in symbols(one))


def test_a_debug_message_that_says_something_else_is_a_new_one(tmp_path: Path) -> None:
    one = change(tmp_path, BASE + _message(512, 10, "said", 5), old=BASE + _message(512, 10))
    assert not selected(one).refused
    made = ElfFile(emit((one,), selected(one)))
    assert made.section("__dyndbg") is not None and not any("ddebug" in s for s in symbols(one))


def test_debug_messages_are_paired_by_what_they_say_when_one_comes_between(tmp_path: Path) -> None:
    shape, body = _MESSAGE.split("noinline", 1)

    def one(name: str, number: int, by: int = 3) -> str:
        filled = (
            body.replace("placed", name)
            .replace("NUMBER", str(number))
            .replace("LINE", str(number))
            .replace("TEXT", name)
        )
        return f"noinline{filled}".replace("* 3", f"* {by}")

    old = BASE + shape + one("first", 512) + one("second", 513)
    new = BASE + shape + one("first", 512) + one("fresh", 513) + one("second", 514, 9)
    found = change(tmp_path, new, old=old)
    assert not selected(found).refused and [r.name for r in selected(found).replaced] == ["second"]
    assert [s.split(".")[4] for s in symbols(found) if "ddebug" in s] == ["__UNIQUE_ID_ddebug513"]


_ONCE = (
    "noinline int placed(int a)\n{\n"
    + "".join(
        f"""\tif (a > {limit}) {{
\t\tstatic char __attribute__((section(".data.once"))) __already_done;
\t\tif (!__already_done) {{
\t\t\t__already_done = 1;
\t\t\toutside({what});
\t\t}}
\t}}
"""
        for limit, what in ((5, 1), (9, 2))
    )
    + "\treturn hidden(a) * 3;\n}\n"
)


def test_flags_of_warnings_that_can_not_be_told_apart_begin_anew(tmp_path: Path) -> None:
    """A warning may be printed once more; other variables of one name in one function are refused."""
    one = change(tmp_path, BASE + _ONCE.replace("* 3", "* 5"), old=BASE + _ONCE)
    assert not selected(one).refused
    assert not any("already_done" in s for s in symbols(one))
    plain = _ONCE.replace('__attribute__((section(".data.once")))', "").replace("__already_done", "state_of")
    found = reasons(change(tmp_path, BASE + plain.replace("* 3", "* 5"), old=BASE + plain))
    assert found and all("several variables of the running kernel may be state_of" in r for _, _, r in found)


def by_hand(text: str) -> SpecialSections:
    """Entries of a unit in assembly, with functions f and g of which each has a section of its own."""
    code = "".join(
        f'.section .text.{n},"ax"\n.globl {n}\n.type {n},@function\n{n}: nop\n{n}1: nop\n{n}2: nop\n{n}3: ret\n'
        f".size {n},.-{n}\n"
        for n in ("f", "g")
    )
    return SpecialSections(KernelObject(ElfFile(object_of(code + text, suffix=".s"))))


def of(special: SpecialSections, name: str) -> list[SectionEntry]:
    index = special.obj.functions[name].hot.index
    return list(special.by_owner.get(index, ()))


SIZES = {
    ".smp_locks": 4, ".retpoline_sites": 4, ".return_sites": 4, ".call_sites": 4, ".ibt_endbr_seal": 4,
    ".static_call_sites": 8, "__ex_table": 12, "__bug_table": 12, "__jump_table": 16, "__mcount_loc": 8,
}  # fmt: skip
"""Bytes of an entry, by the headers of Linux 6.1."""


@pytest.mark.parametrize("name", SIZES)
def test_each_table_has_entries_of_its_own_size(name: str) -> None:
    size = SIZES[name]
    field = ".quad f{0}" if name == "__mcount_loc" else ".long f{0} - ."
    places = [1, 2, 3, 1, 2]
    entries = "".join(f"{field.format(n)}\n.fill {size - (8 if '.quad' in field else 4)}, 1, {n}\n" for n in places)
    special = by_hand(f'.section {name},"a"\n{entries}')
    found = of(special, "f")
    assert [(e.section, len(e.data), e.references[0].value) for e in found] == [(name, size, n) for n in places]
    assert all(e.data[8:] == bytes([n]) * (size - 8) for e, n in zip(found, places, strict=True) if size > 8)
    assert of(special, "g") == []


def test_an_entry_that_is_about_no_code_of_the_unit_is_none() -> None:
    special = by_hand('.section .smp_locks,"a"\n.long 0\n.long f1 - .\n.long elsewhere - .\n.long g2 - .\n.long 0\n')
    assert [e.references[0].value for e in of(special, "f")] == [1]
    assert [e.references[0].value for e in of(special, "g")] == [2]
    assert sum(map(len, special.by_owner.values())) == 2


def test_a_table_whose_size_is_none_of_its_entries_is_refused() -> None:
    for name, size in (("__ex_table", 16), ("__jump_table", 24), ("__mcount_loc", 12), (".smp_locks", 6)):
        special = by_hand(f'.section {name},"a"\n.long f1 - .\n.skip {size - 4}\n')
        with pytest.raises(Unsupported, match=f"{name} has {size} bytes"):
            _ = special.by_owner


def test_warnings_without_a_line_have_shorter_entries() -> None:
    """CONFIG_DEBUG_BUGVERBOSE is off: the place, flags and two bytes behind them (include/asm-generic/bug.h)."""
    special = by_hand('.section __bug_table,"aw"\n.long f1 - .\n.word 1, 0\n.long f2 - .\n.word 2, 0\n')
    assert [(e.references[0].value, e.data[4:]) for e in of(special, "f")] == [(1, b"\1\0\0\0"), (2, b"\2\0\0\0")]


def test_a_replacement_is_read_where_its_entry_says_and_leads_where_its_code_does() -> None:
    entry = '.section .altinstructions,"a"\n.long f1 - ., {0} - .\n.word 7\n.byte 5, {1}\n'
    code = '.section .altinstr_replacement,"ax"\nnop\n1: jmp f3\n2: call outside\n'
    (found,) = of(by_hand(entry.format("1f", 10) + code), "f")
    assert len(found.extra) == 10 and found.extra[:1] == b"\xe9" and found.extra[5:6] == b"\xe8"
    assert found.instructions == range(1, 6)
    jump, call = found.extra_references
    assert (jump.offset, jump.value, call.offset, call.symbol) == (1, 3, 6, "outside")
    (part,) = of(by_hand(entry.format("1f", 5) + code), "f")
    assert part.extra == found.extra[:5] and [r.offset for r in part.extra_references] == [1]
    for text in (
        entry.format("1f", 0) + code,
        entry.format("outside", 5),
        entry.replace("{0} - .", "0").format("", 5) + code,
    ):
        (none,) = of(by_hand(text), "f")
        assert (none.extra, none.extra_references) == (b"", ()), text


def said(text: str, name: str = "f") -> list[object]:
    special = by_hand(text)
    index = special.obj.functions[name].hot.index
    return meaning(special, index, {f.hot.index: n for n, f in special.obj.functions.items()})


def test_what_entries_say_is_where_their_fields_lead() -> None:
    guarded = '.section __ex_table,"a"\n.long f1 - ., {0} - .\n.long 3\n'
    first = said(guarded.format("f2"))
    assert first == said(guarded.format("f2")) and len(first) == 1
    others = [said(guarded.format(other)) for other in ("f3", "g2", "outside")]
    assert first not in others and all(others.count(o) == 1 for o in others)


def test_where_a_piece_of_data_lies_and_the_line_of_a_warning_are_not_said() -> None:
    texts = '.section .rodata.str1.1,"aMS",@progbits,1\n.asciz "x"\ntext: .asciz "unit.c"\n'
    keyed = '.section .static_call_sites,"a"\n.long f1 - ., {0} - .\n' + texts
    assert said(keyed.format("text")) == said(keyed.format("text + 1"))
    warning = '.section __bug_table,"aw"\n.long f1 - ., {0} - .\n.word {1}, {2}\n' + texts
    assert said(warning.format("text", 10, 1)) == said(warning.format("f3", 11, 1))
    assert said(warning.format("text", 10, 1)) != said(warning.format("text", 10, 3))
    assert said('.section .smp_locks,"a"\n.long f1 - .\n') == []
