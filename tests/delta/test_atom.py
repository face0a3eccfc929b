"""Objects cut into atoms: what gcc makes of small units, with readelf's view as the judge, and pieces of assembly."""

from __future__ import annotations

import re
import struct
import subprocess
from pathlib import Path

import capstone
import pytest

from suture.delta.atom import Atom, AtomKind, AtomObject, Reference, is_pc_relative, without_fields
from suture.elf.abi import R
from suture.elf.file import ElfFile
from suture.number import SectionOffset
from tests.delta.compiled import object_of, unit

C = """
extern int outside(int); extern int far;
static int state = 3; int shown; static const int table[4] = {1, 2, 3, 4};
    const char *const named[] = {"one", "two"}; __thread int local = 1;
static int zeroed[100]; extern int hidden_var __attribute__((visibility("hidden"))); int hidden_var = 4;
__attribute__((noinline)) static int helper(int x) { __asm__(""); return x * 3 + state + zeroed[x & 7]; }
__attribute__((cold, noinline)) static int rare(int x) { state = x; zeroed[1] = x; return outside(x); }
int f(int x) { if (__builtin_expect(x < 0, 0)) return rare(rare(x)) + far; return helper(x) + local; }
int g(int x) { switch (x) { case 0: return outside(1); case 1: return helper(4); case 2: return outside(7);
    case 3: return helper(2); case 4: return outside(8); case 5: return helper(9); } return table[x & 3]; }
double h(double d) { return d * 1.5 + outside((long)named[(int)d]); }
int alias(int) __attribute__((alias("g")));
int chosen(int) __attribute__((ifunc("choose"))); static void *choose(void) { return g; }
__attribute__((constructor)) static void early(void) { state = 1; }
"""


@pytest.fixture(scope="module")
def obj() -> AtomObject:
    return unit(C)


def atom(obj: AtomObject, label: str) -> Atom:
    return next(a for a in obj.atoms.values() if a.label == label)


def test_every_allocated_section_is_one_atom(obj: AtomObject, tmp_path: Path) -> None:
    (tmp_path / "a.o").write_bytes(object_of(C))
    text = subprocess.run(["readelf", "-SW", tmp_path / "a.o"], capture_output=True, text=True, check=True).stdout
    rows = re.findall(r"\[ *(\d+)\] (\S+) +(PROGBITS|NOBITS|INIT_ARRAY) +\S+ \S+ (\S+) \S+ +([WAXMSGILTo]*)", text)
    wanted = {
        int(n)
        for n, name, _, size, flags in rows
        if "A" in flags and int(size, 16) and not name.startswith((".eh_frame", ".note"))
    }
    assert obj.atoms.keys() == wanted


KINDS = {
    "f": AtomKind.CODE,
    "helper": AtomKind.CODE,
    "state": AtomKind.DATA,
    "hidden_var": AtomKind.DATA,
    "shown": AtomKind.BSS,
    "zeroed": AtomKind.BSS,
    "table": AtomKind.CONST,
    "named": AtomKind.RELRO,
    "local": AtomKind.THREAD,
    ".init_array": AtomKind.RELRO,
    ".rodata.str1.1": AtomKind.MERGED,
    ".rodata.cst8": AtomKind.MERGED,
    ".rodata.g": AtomKind.CONST,
}


def test_each_has_its_kind(obj: AtomObject) -> None:
    kinds = {a.label: a.kind for a in obj.atoms.values()}
    assert {n: kinds.get(n) for n in KINDS} == KINDS
    assert {a.label for a in obj.atoms.values() if a.is_constant} == {
        "table",
        "named",
        ".init_array",
        ".rodata.g",
        *(n for n, k in kinds.items() if k is AtomKind.MERGED),
    }
    assert {a.label for a in obj.atoms.values() if a.is_pool} == {".init_array", ".rodata.g"}
    assert {a.label for a in obj.atoms.values() if a.is_global} >= {
        "f",
        "g",
        "h",
        "shown",
        "named",
        "local",
        "hidden_var",
    }
    assert not atom(obj, "state").is_global and not atom(obj, "helper").is_global
    for label, size in (("zeroed", 400), ("table", 16), ("named", 16), ("local", 4)):
        assert atom(obj, label).size == size


def test_names_of_an_atom(obj: AtomObject) -> None:
    g = atom(obj, "g")
    function = obj.functions["g"]
    assert (function.hot is g, set(function.aliases), function.is_ifunc) == (True, {"g", "alias"}, False)
    assert g.is_exportable("g") and g.is_exportable("alias") and not g.is_exportable("f")
    assert atom(obj, "shown").is_exportable("shown") and not atom(obj, "hidden_var").is_exportable("hidden_var")
    assert not atom(obj, "helper").is_exportable("helper")
    assert atom(obj, "hidden_var").is_hidden and atom(obj, "helper").is_hidden and not g.is_hidden
    choose = obj.functions["choose"]
    assert choose.is_ifunc and choose.hot.is_ifunc("chosen") and not choose.hot.is_ifunc("choose")
    assert set(choose.aliases) == {"choose", "chosen"}


def test_a_cold_part_belongs_to_its_function(obj: AtomObject) -> None:
    f = obj.functions["f"]
    assert f.cold is not None and f.cold.label == "f.cold" and f.atoms == (f.hot, f.cold)
    assert obj.functions["h"].cold is None and obj.functions["h"].atoms == (obj.functions["h"].hot,)
    assert "f.cold" not in obj.functions
    assert obj.function_of[f.cold.index] is obj.function_of[f.hot.index] is f
    assert obj.function_of.get(atom(obj, "state").index) is None


def test_references_are_those_of_readelf(obj: AtomObject, tmp_path: Path) -> None:
    (tmp_path / "a.o").write_bytes(object_of(C))
    text = subprocess.run(["readelf", "-rW", tmp_path / "a.o"], capture_output=True, text=True, check=True).stdout
    for part in text.split("Relocation section '.rela")[1:]:
        name = part.split("'")[0]
        mine = next((a for a in obj.atoms.values() if a.section.name == name), None)
        if mine is None:
            continue
        rows = re.findall(
            r"^([0-9a-f]{16})  [0-9a-f]{16} R_X86_64_(\S+) +([0-9a-f]+) (\S+) ([+-]) ([0-9a-f]+)$", part, re.M
        )
        wanted = sorted((int(o, 16), kind, symbol, int(s + a, 16)) for o, kind, _, symbol, s, a in rows)
        assert [
            (r.offset, R(r.r_type).name.removeprefix("R_"), r.symbol or obj.elf.sections[r.section or 0].name, r.addend)
            for r in mine.references
        ] == wanted
    ref = next(
        r
        for r in atom(obj, "f").references + (obj.functions["f"].cold or atom(obj, "f")).references
        if r.symbol == "far"
    )
    assert ref.section is None and ref.value == 0


def test_a_branch_is_told_from_an_operand(obj: AtomObject) -> None:
    helper = atom(obj, "helper")
    assert not any(helper.is_branch(r) for r in helper.references)
    f = obj.functions["f"]
    called = {
        r.symbol or (obj.function_of[r.section].name if r.section in obj.function_of else "")
        for a in f.atoms
        for r in a.references
        if a.is_branch(r)
    }
    assert {"helper", "rare"} <= called and "far" not in called
    assert not any(atom(obj, "named").is_branch(r) for r in atom(obj, "named").references)
    code = unit(
        '.section .text.f,"ax"\n.type f,@function\nf: .long g - .\n lea g(%rip), %rax\n call g\n jne g\n .size f,.-f\n',
        suffix=".s",
    )
    (one,) = code.atoms.values()
    assert [one.is_branch(r) for r in one.references] == [False, False, True, True]


def test_users_are_functions_that_refer_directly_or_through_constants(obj: AtomObject) -> None:
    users = {obj.atoms[i].label: set(names) for i, names in obj.users.items()}
    assert users["table"] == {"g"}
    assert users["state"] == {"helper", "rare", "early"}
    assert users["named"] == {"h"}
    assert users[".rodata.str1.1"] == {"h"}
    assert users["helper"] == {"f", "g"}
    assert "shown" not in users


def test_fields_are_left_out_of_the_bytes(obj: AtomObject) -> None:
    assert without_fields(b"abcdefgh", []) == b"abcdefgh"
    assert (
        without_fields(
            b"abcdefghijkl",
            [
                Reference(SectionOffset(1), R.PC32, None, "x", SectionOffset(0), 0),
                Reference(SectionOffset(6), R.R_8, None, "x", SectionOffset(0), 0),
            ],
        )
        == b"a\0\0\0\0f\0hijkl"
    )
    assert (
        obj.compared_bytes(atom(obj, "table")) == atom(obj, "table").data
        and obj.description(atom(obj, "table")) is None
    )


def test_switch_tables_lead_inside_a_function(obj: AtomObject) -> None:
    pool = atom(obj, ".rodata.g")
    g = obj.functions["g"]
    targets = obj.inner_targets(g)
    assert len(pool.references) == 6 and len(targets) == 6
    starts = {a for a, _, _, _ in capstone.Cs(capstone.CS_ARCH_X86, capstone.CS_MODE_64).disasm_lite(g.hot.data, 0)}
    assert targets <= starts and 0 not in targets
    assert all(obj.points_inside(pool, r) for r in pool.references)
    assert obj.pool_bounds[pool.index] == [0]
    assert obj.piece(pool, 0) == (0, pool.size)
    named = atom(obj, "named")
    assert not any(obj.points_inside(named, r) for r in named.references)
    assert not any(obj.points_inside(g.hot, r) for r in g.hot.references)


ASM = """
.section .text.f,"ax"
.globl f
.type f,@function
f: nop; nop
1: cmpl $5, .Lpool+4(%rip)
 mov .Lpool(%rip), %eax
 movl $1, .Lpool+8(%rip)
 .byte 6
 lea .Lpool+12(%rip), %rcx
2: ret
.size f,.-f
.section .text.g,"ax"
.type g,@function
g: jmp 2b
 jmp f
.size g,.-g
.section .rodata
.Lpool: .long 1, 2, 3, 4, 5
.section .data.rel.ro.labels,"aw"
.type labels,@object
labels: .quad 1b, f, 2b, g
.size labels,32
"""


def test_what_a_reference_means() -> None:
    obj = unit(ASM, suffix=".s")
    f, g, labels = obj.functions["f"], obj.functions["g"], atom(obj, "labels")
    pool = atom(obj, ".rodata")
    fields = [r for r in f.hot.references if r.section == pool.index]
    # the immediate operand moves the end of the instruction away from the field
    assert [obj.pointed(f.hot, r) for r in fields] == [4, 0, 8, 12]
    assert obj.pool_bounds == {pool.index: [0, 4, 8, 12]}
    assert [obj.piece(pool, at) for at in (0, 4, 12)] == [(0, 4), (4, 8), (12, 20)]
    assert obj.instruction(f.hot, fields[0]) == (2, 9) and obj.instruction(f.hot, fields[1]) == (9, 15)
    assert obj.instruction(f.hot, fields[3]) == (fields[3].offset, fields[3].offset + 4)  # what follows does not decode
    assert [obj.points_inside(labels, r) for r in labels.references] == [True, False, True, False]
    end = f.hot.size - 1
    assert obj.inner_targets(f) == {2, end}
    assert obj.inner_targets(g) == frozenset()
    assert [obj.pointed(labels, r) for r in labels.references] == [2, 0, end, 0]


def test_room_in_front_of_a_function_is_none_of_it() -> None:
    text = (
        "extern int o(int); int f(int x) { return o(x) + 1; } int (*p)(int) = f; static int l(int x) { return x; } "
        "void *q = l;"
    )
    plain, padded = unit(text), unit(text, "-fpatchable-function-entry=5,3")
    assert {padded.atoms[i].label: n for i, n in padded.pads.items()} == {"f": 3, "l": 3}
    assert plain.pads == {}
    f = padded.functions["f"].hot
    assert f.data.startswith(b"\x90\x90") and f.data[2:] == plain.functions["f"].hot.data
    assert f.size == len(f.data) == plain.functions["f"].hot.size + 2
    assert [r.offset for r in f.references] == [r.offset + 2 for r in plain.functions["f"].hot.references]
    assert [s.st_value for s in f.symbols if s.name == "f"] == [0]
    (pointer,) = atom(padded, "q").references
    assert pointer.value + pointer.addend == 0
    assert [x.start for x in padded.frames[f.index]] == [0]
    other = unit('.section .text.f,"ax"\n.byte 0x90, 0xcc\n.type f,@function\nf: ret\n.size f,1\n', suffix=".s")
    assert other.pads == {}


def test_pieces_of_merged_sections() -> None:
    text = (
        '.section .rodata.str1.1,"aMS",@progbits,1\n.string "one"\n.string ""\n.string "two"\n'
        '.section .rodata.str4.4,"aMS",@progbits,4\n.long 65, 0x4200, 0, 66, 0\n'
        '.section .rodata.cst8,"aM",@progbits,8\n.quad 1, 2\n'
    )
    obj = unit(text, suffix=".s")
    one, four, cst = (
        next(a.index for a in obj.atoms.values() if a.section.name == n)
        for n in (".rodata.str1.1", ".rodata.str4.4", ".rodata.cst8")
    )
    assert [obj.string_at(one, at) for at in (0, 2, 4, 5)] == [b"one\0", b"e\0", b"\0", b"two\0"]
    assert obj.string_at(four, 0) == b"A\0\0\0\0B\0\0\0\0\0\0" and obj.string_at(four, 12) == b"B\0\0\0\0\0\0\0"
    assert obj.string_at(cst, 8) == (2).to_bytes(8, "little")
    with_address = unit('.section .rodata.str1.1,"aMS",@progbits,1\n.string "a"\n.quad f\n', suffix=".s")
    assert [a.kind for a in with_address.atoms.values()] == [AtomKind.CONST]


@pytest.mark.parametrize(
    ("name", "flags", "kind"),
    [
        (".data.rel.ro.x", "aw", AtomKind.RELRO),
        (".ctors", "aw", AtomKind.RELRO),
        (".fini_array", "aw", AtomKind.RELRO),
        (".dtors.1", "aw", AtomKind.RELRO),
        (".data.x", "aw", AtomKind.DATA),
        (".mine", "a", AtomKind.CONST),
        (".tdata.x", "awT", AtomKind.THREAD),
        (".text.x", "ax", AtomKind.CODE),
    ],
)
def test_a_section_tells_its_kind(name: str, flags: str, kind: AtomKind) -> None:
    obj = unit(f'.section {name},"{flags}",@progbits\n.quad 1\n', suffix=".s")
    assert [a.kind for a in obj.atoms.values()] == [kind]


def label(symbols: str, section: str = ".data.wanted") -> str:
    (one,) = unit(f'.section {section},"aw"\n{symbols}\n.quad 1\nend: .quad 2\n', suffix=".s").atoms.values()
    return one.label


def test_the_main_symbol_is_the_one_that_the_section_is_named_after() -> None:
    assert label("a: .globl b\nb: wanted:") == "wanted"
    assert label("a: .globl b\nb: .globl c\nc:") == "b"
    assert label("a: z:") == "a"
    assert label(".quad 0") == ".data.wanted"
    assert label("d: b.d: .globl e\ne:", ".data.b.d") == "b.d"


def test_tables_of_the_language_are_told_by_name() -> None:
    cxx = unit(
        "struct A { virtual ~A(); int x; }; A::~A() { } struct M { ~M(); }; void g(int); int f(int x) { M m; try { "
        "g(x); } catch (int y) { return y; } return 1; }",
        suffix=".cc",
    )
    said = {
        n: {a.label for a in cxx.atoms.values() if getattr(a, n)}
        for n in ("is_vtable", "is_type_information", "is_indirection", "is_handler_table")
    }
    assert said["is_vtable"] == {"_ZTV1A"} and said["is_type_information"] == {"_ZTI1A", "_ZTS1A"}
    assert "DW.ref.__gxx_personality_v0" in said["is_indirection"] and all(
        n.startswith("DW.ref.") for n in said["is_indirection"]
    )
    (table,) = said["is_handler_table"]
    assert table.startswith(".gcc_except_table")
    (f,) = (x for n, x in cxx.functions.items() if n == "_Z1fi")
    assert [a.label for a in cxx.tables_of(f)] == [table]
    (destructor,) = (x for n, x in cxx.functions.items() if n.startswith("_ZN1AD2"))
    assert cxx.tables_of(destructor) == ()
    assert cxx.strange_frames == ""


def test_unwind_information_that_is_not_understood_is_told() -> None:
    obj = unit('.text\nf: ret\n.section .eh_frame,"a",@progbits\n.long 4, 4\n', suffix=".s")
    assert "no common entry" in obj.strange_frames and obj.frames == {}


def test_fields_that_count_from_their_place() -> None:
    relative = {R.PC32, R.PLT32, R.GOTPCREL, R.GOTPCRELX, R.REX_GOTPCRELX, R.TLSGD, R.TLSLD, R.GOTTPOFF, R.PC64}
    assert {r for r in R if is_pc_relative(r)} == relative


def test_a_field_of_the_first_instruction_is_in_it() -> None:
    obj = unit('.section .text.f,"ax"\n.type f,@function\nf: lea g(%rip), %rax\n ret\n.size f,.-f\n', suffix=".s")
    f = obj.functions["f"].hot
    assert obj.instruction(f, f.references[0]) == (0, 7)


def test_a_label_counted_back_to_the_start_is_the_function_itself() -> None:
    text = """
    .section .text.f,"ax"
    .type f,@function
    .globl inner
    f: nop; nop
    inner: nop; ret
    .size f,.-f
    .section .data.rel.ro.labels,"aw"
    .type labels,@object
    labels: .quad inner - 2, inner, inner + 1, f
    .size labels,32
    """
    obj = unit(text, suffix=".s")
    labels = atom(obj, "labels")
    assert [(r.value, r.addend) for r in labels.references][:2] == [(2, -2), (2, 0)], "gas keeps the symbol"
    assert [obj.points_inside(labels, r) for r in labels.references] == [False, True, True, False]


def test_each_of_several_switch_tables_of_a_function_counts_from_its_own_start() -> None:
    cases = "".join(f"case {n}: return outside({n}{{0}});" for n in range(8))
    text = f"extern int outside(int); int f(int x, int y) {{{{ if (y) switch (x) {{{{ {cases.format(1)} }}}} "
    text += f"else switch (x) {{{{ {cases.format(2)} }}}} return x; }}}}"
    obj = unit(text.replace("{{", "{").replace("}}", "}"))
    f, pool = obj.functions["f"], atom(obj, ".rodata.f")
    starts = {a for a, _, _, _ in capstone.Cs(capstone.CS_ARCH_X86, capstone.CS_MODE_64).disasm_lite(f.hot.data, 0)}
    assert len(obj.pool_bounds[pool.index]) == 2 and len(pool.references) == 16
    assert obj.inner_targets(f) <= starts and len(obj.inner_targets(f)) == 16


def test_a_symbol_with_a_fixed_value_has_it_and_another_units_has_none() -> None:
    text = '.section .text.f,"ax"\n.type f,@function\nf: lea one(%rip), %rax\n lea two(%rip), %rax\n.size f,.-f\n'
    elf = unit(text, suffix=".s").elf
    data, table = bytearray(elf.data), elf.section(".symtab")
    assert table is not None
    for name, section in (("one", 0xFFF1), ("two", 0)):
        symbol = next(s for s in elf.symbols if s.name == name)
        struct.pack_into("<HQ", data, table.sh_offset + 24 * symbol.index + 6, section, 0x1234)
    refs = AtomObject(ElfFile(bytes(data))).functions["f"].hot.references
    assert [(r.symbol, r.section, r.value) for r in refs] == [("one", None, 0x1234), ("two", None, 0)]
