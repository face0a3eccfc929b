"""Functions, transfers and switch tables: assembly by hand, and what objdump shows of compiled code."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path

import pytest

from suture.delta.code_unit import CodeUnit, Function, Span, Transfer
from suture.delta.liveness import Flow, FlowStep
from suture.elf.file import ElfFile
from tests.delta.compiled import object_of

C = """
extern int outside(int); static int state; extern int (*pointer)(int);
__attribute__((noinline)) static int helper(int x) { __asm__(""); return x * 3 + state; }
__attribute__((cold, noinline)) static int rare(int x) { state = x; return outside(x); }
int f(int x) { if (__builtin_expect(x < 0, 0)) return rare(rare(x)) + 1; return helper(x) + 2; }
int g(int x) { switch (x) { case 0: return outside(1); case 1: return helper(4); case 2: return outside(7);
  case 3: return helper(2); case 4: return outside(8); case 5: return helper(9); } return x; }
int tail(int x) { return helper(x + 1); } int far(int x) { return outside(x + 1); }
int through(int x) { return pointer(x) + 1; } int jumps(int x) { return pointer(x); }
int alias(int) __attribute__((alias("tail"))); __attribute__((weak)) int weak(int x) { return x; }
__attribute__((visibility("hidden"))) int hidden(int x) { return x; }
"""


def unit(text: str, *flags: str, suffix: str = ".c") -> CodeUnit:
    return CodeUnit(ElfFile(object_of(text, *flags, suffix=suffix)))


@pytest.fixture(scope="module")
def code() -> CodeUnit:
    return unit(C)


def named(code: CodeUnit, section: int) -> str:
    return code.elf.sections[section].name


def test_functions_have_all_their_names_and_parts(code: CodeUnit) -> None:
    f = code.functions["f"]
    assert [(named(code, s.section), s.start) for s in f.spans] == [(".text.f", 0), (".text.unlikely.f", 0)]
    sizes = [code.elf.sections[s.section].sh_size for s in f.spans]
    assert [s.end for s in f.spans] == sizes
    assert code.functions["alias"] is code.functions["tail"]
    assert code.functions["tail"].names == ("alias", "tail") and code.functions["tail"].name == "alias"
    assert "f.cold" not in code.functions
    bound = {
        n: (code.functions[n].local, code.functions[n].weak, code.functions[n].preemptible)
        for n in ("helper", "f", "weak", "hidden")
    }
    assert bound == {
        "helper": (True, False, False),
        "f": (False, False, True),
        "weak": (False, True, True),
        "hidden": (False, False, False),
    }
    assert code.opaque == frozenset()


def test_functions_of_one_section_are_opaque() -> None:
    text = (
        '.section .text.a,"ax"\n.type a,@function\na: nop\n.size a,1\n.type b,@function\nb: ret\n.size b,1\n'
        '.section .text.c,"ax"\n.type c,@function\n.type d,@function\nc: d: ret\n.size c,1\n.size d,1\n'
    )
    two = unit(text, suffix=".s")
    assert two.opaque == {"a", "b"}
    assert two.may_be_another(two.functions["a"]) and not two.may_be_another(two.functions["c"])


@pytest.mark.parametrize(
    ("flags", "independent"),
    [
        (("-g", "-fPIC"), True),
        (("-g", "-fpic"), True),
        (("-g", "-fno-pic", "-fno-pie"), False),
        (("-g", "-fPIC", "-fno-semantic-interposition"), False),
        (("-g0",), None),
        (("-gdwarf-4", "-fPIC"), True),
    ],
)
def test_whether_a_global_function_may_be_another_one(flags: tuple[str, ...], independent: bool | None) -> None:
    code = unit(C, *flags)
    assert code.position_independent is independent
    said = {n: code.may_be_another(code.functions[n]) for n in ("helper", "f", "weak", "hidden")}
    assert said == {"helper": False, "f": independent is not False, "weak": True, "hidden": False}


def transfers(code: CodeUnit, name: str) -> list[tuple[str, bool, bool]]:
    return [(t.callee, t.is_call, t.defined) for t in code.transfers(name)]


def test_calls_and_jumps_to_other_functions(code: CodeUnit) -> None:
    assert transfers(code, "f") == [("helper", True, True), ("rare", True, True), ("rare", True, True)]
    assert transfers(code, "tail") == [("helper", False, True)]
    assert transfers(code, "far") == [("outside", False, False)]
    assert transfers(code, "through") == transfers(code, "jumps") == transfers(code, "hidden") == []
    assert sorted(transfers(code, "g")) == [("helper", False, True)] * 3 + [("outside", False, False)] * 3
    assert code.transfers("alias") is code.transfers("tail")
    hot, cold = (s.section for s in code.functions["f"].spans)
    assert [t.place[0] for t in code.transfers("f")] == [hot, cold, cold]


ASM = """
.section .text.f,"ax"
.type f,@function
f: call f
 jmp g
 jne f+2
 call outside
 lea g(%rip), %rax
 .byte 0x0f, 0x90
 .long g - . - 4
 jmp h+1
 .size f,.-f
.section .text.g,"ax"
.type g,@function
g: nop; nop
.size g,.-g
.section .text.h,"ax"
.type h,@function
h: nop; nop
 .size h,2
"""


def test_a_branch_inside_the_function_is_none_and_a_call_of_itself_is_one() -> None:
    code = unit(ASM, suffix=".s")
    assert transfers(code, "f") == [
        ("g", False, True),
        ("outside", True, False),
        ("h", False, True),
        ("f", True, True),  # gas resolves it, since both ends are in one section, and leaves no relocation
    ]
    section = code.functions["f"].spans[0].section
    assert [t.place[0] for t in code.transfers("f")] == [section] * 4 and code.transfers("f")[3].place[1] == 1
    weak = unit(".weak f\n" + ASM, suffix=".s")
    assert transfers(weak, "f") == [("f", True, True), ("g", False, True), ("outside", True, False), ("h", False, True)]


def test_steps_are_all_instructions_of_all_parts(code: CodeUnit, tmp_path: Path) -> None:
    (tmp_path / "a.o").write_bytes(object_of(C))
    text = subprocess.run(
        ["objdump", "-d", "--no-show-raw-insn", tmp_path / "a.o"], capture_output=True, text=True, check=True
    ).stdout
    shown: dict[str, list[int]] = {}
    section = ""
    for line in text.splitlines():
        if line.startswith("Disassembly of section "):
            section = line[23:-1]
        elif found := re.match(r" +([0-9a-f]+):\t", line):
            shown.setdefault(section, []).append(int(found[1], 16))
    for name in ("f", "g", "helper", "tail"):
        wanted = [
            (s.section, at)
            for s in code.functions[name].spans
            for at in shown[named(code, s.section)]
            if s.start <= at < s.end
        ]
        assert [(s.section, s.offset) for s in code.steps(name)] == wanted
    assert code.steps("alias") is code.steps("tail")


def step(code: CodeUnit, name: str, flow: Flow, nth: int = 0) -> FlowStep:
    return [s for s in code.steps(name) if s.effect.flow is flow][nth]


def test_where_a_branch_goes_and_what_field_it_has(code: CodeUnit) -> None:
    call = step(code, "f", Flow.CALL)
    field = code.field(call)
    assert field is not None and field.r_offset == call.offset + 1
    assert code.target(call) == (code.functions["helper"].spans[0].section, 0)
    assert code.function_of(code.target(call) or (0, 0)) is code.functions["helper"]
    assert code.function_of((code.functions["helper"].spans[0].section, 1)) is None
    branch = step(code, "f", Flow.BRANCH)
    assert code.inside("f", code.target(branch)) and code.target(branch) == (code.functions["f"].spans[1].section, 0)
    assert not code.inside("g", code.target(branch)) and not code.inside("f", None)
    span = code.functions["g"].spans[0]
    assert code.inside("g", (span.section, span.end - 1)) and not code.inside("g", (span.section, span.end))
    first = code.steps("g")[0]
    assert code.field(first) is None and code.target(first) is None
    assert code.target(step(code, "far", Flow.JUMP)) is None  # undefined
    local = unit('.section .text.f,"ax"\n.type f,@function\nf: nop\n1: nop\n jmp 1b\n.size f,.-f\n', suffix=".s")
    assert local.target(step(local, "f", Flow.JUMP)) == (local.functions["f"].spans[0].section, 1)


def test_what_goes_where_the_code_does_not_say(code: CodeUnit) -> None:
    said = {n: code.calls_unknown(n) for n in ("through", "jumps", "f", "g", "tail", "far", "hidden")}
    assert said == {
        "through": True,
        "jumps": True,
        "f": False,
        "g": False,
        "tail": False,
        "far": False,
        "hidden": False,
    }
    strange = unit(
        '.section .text.f,"ax"\n.type f,@function\nf: nop; .byte 6\n.size f,2\n.section .text.g,"ax"\n'
        ".type g,@function\ng: ud2\n.size g,2\n",
        suffix=".s",
    )
    assert strange.calls_unknown("f") and not strange.calls_unknown("g")


@pytest.mark.parametrize(
    "flags", [("-fPIC",), ("-fno-pic", "-fno-pie"), ("-fPIC", "-O3"), ("-fno-pic", "-fno-pie", "-Os", "-fjump-tables")]
)
def test_switch_tables_lead_to_instructions_of_their_function(flags: tuple[str, ...]) -> None:
    code = unit(C, *flags)
    (name,) = code.tables
    assert name == "g"
    targets = set(code.tables["g"])
    assert targets <= {(s.section, s.offset) for s in code.steps("g")} and len(targets) >= 5
    jump = next(s for s in code.steps("g") if s.effect.flow is Flow.JUMP and s.effect.relative is None)
    assert code.reads_table(jump)
    other = next(s for s in code.steps("jumps") if s.effect.flow is Flow.JUMP)
    assert not code.reads_table(other)


TABLES = """
.section .text.f,"ax"
.type f,@function
f: nop
 lea .Ltable(%rip), %rdx
1: nop
2: ret
.size f,.-f
.section .rodata
.Lbefore: .long 1b - .
.Ltable: .long 1b - .Ltable, 2b - .Ltable, f - .Ltable
.section .data.rel.ro,"aw"
.quad 1b, f, outside, .Ltable
.section .debug_other
.quad 2b
"""


def test_tables_by_hand() -> None:
    code = unit(TABLES, suffix=".s")
    section = code.functions["f"].spans[0].section
    assert sorted(code.tables["f"]) == [(section, 8), (section, 8), (section, 9)]
    assert code.tables.keys() == {"f"}


JUMPS = {
    "add %rdx, %rax; jmp *%rax": True,
    "add %rdx, %rax; notrack jmp *%rax": True,
    "add %rax, %rdx; jmp *%rax": False,
    "add %rax, %rdx; jmp *%rdx": True,
    "{load} add %rsi, %rdi; jmp *%rdi": True,
    "add %rax, %rdx; jmp *%rcx": False,
    "add %r9, %r11; jmp *%r11": True,
    "add %r9, %r8; jmp *%r11": False,
    "add %r9, %r8; jmp *%r8": True,
    "add %r8, %rax; jmp *%r8": False,
    "add %rdx, %r8; jmp *%rax": False,
    "addq (%rcx), %rax; jmp *%rax": False,
    "sub %rdx, %rax; jmp *%rax": False,
    "add %edx, %eax; jmp *%rax": False,
    "nop; jmp *%rax": False,
    "add %rdx, %rax; jmp *(%rax)": False,
    "{load} add %rdx, %rax; jmp *%rax": True,
    "{load} add %r9, %r8; jmp *%r8": True,
    "{load} add %r8, %rax; jmp *%r8": False,
    "{load} add %rax, %r8; jmp *%rax": False,
    "jmp *table(,%rax,8)": True,
    "jmp *table(%rip)": False,
    "add %rdx, %rax; call *%rax": False,
}


@pytest.mark.parametrize("text", JUMPS)
def test_a_jump_through_a_table_is_told_by_its_form(text: str) -> None:
    code = unit(f'.section .text.f,"ax"\n.type f,@function\nf: {text}\n.size f,.-f\n', suffix=".s")
    assert code.reads_table(code.steps("f")[-1]) is JUMPS[text]


def test_prototypes_are_those_of_the_unit() -> None:
    assert {"f", "outside", "helper"} <= unit(C, "-g").prototypes.keys()


def test_facts_are_plain() -> None:
    assert Function(("a", "b"), (Span(1, 0, 2),), True, False, False).name == "a"
    assert Transfer((1, 2), True, "x", False).callee == "x"


def test_a_conditional_jump_out_of_a_function_is_a_transfer() -> None:
    for name, code in (("je", 0x84), ("jne", 0x85), ("jg", 0x8F), ("jo", 0x80)):
        one = unit(f'.section .text.f,"ax"\n.type f,@function\nf: {name} outside\n ret\n.size f,.-f\n', suffix=".s")
        assert one.elf.bytes_of(one.elf.sections[one.functions["f"].spans[0].section])[1] == code
        assert transfers(one, "f") == [("outside", False, False)]
    for raw in ("0x10, 0x85", "0x0f, 0x95", "0x0f, 0x75", "0x8f, 0x85"):  # others with a field behind them
        text = f'.section .text.f,"ax"\n.type f,@function\nf: .byte {raw}\n.long outside - . - 4\n ret\n.size f,.-f\n'
        assert transfers(unit(text, suffix=".s"), "f") == [], raw


def test_a_table_that_code_names_by_its_address_alone() -> None:
    text = """
    .section .text.f,"ax"
    .type f,@function
    f: mov $table, %edx
     movslq table(,%rax,4), %rax
     add %rdx, %rax
     jmp *%rax
    1: nop
    2: ret
    .size f,.-f
    .section .rodata.f,"a"
    .long 7
    table: .long 1b - table, 2b - table
    """
    code = unit(text, suffix=".s")
    section = code.functions["f"].spans[0].section
    steps = code.steps("f")
    assert sorted(code.tables["f"]) == [(section, steps[-2].offset), (section, steps[-1].offset)]


ITSELF = """
.section .text.f,"ax"
.type g,@function
g: ret
.size g,.-g
.type f,@function
f: nop
 call f
 call g
 nop
 call f
 nop; nop
 call f
.size f,.-f
"""


def test_calls_of_itself_are_told_from_others_in_the_section_wherever_they_stand() -> None:
    """The assembler fills all of them in; objdump shows where they are: at 2, 13 and, as the last, at 20."""
    code = unit(ITSELF, suffix=".s")
    section = code.functions["f"].spans[0].section
    assert not code.elf.relocations_by_section.get(section)
    assert [(t.callee, t.place) for t in code.transfers("f")] == [("f", (section, at)) for at in (3, 14, 21)]
    assert code.transfers("g") == ()
