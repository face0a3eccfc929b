"""A compiled unit found in a stripped binary: `nm` of the copy that is not stripped is the judge."""

from __future__ import annotations

import struct
import subprocess
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, cast

import pytest

from suture.compile.unit import Variant
from suture.elf.file import ElfFile
from suture.match.book import Contradiction
from suture.match.compiled import TaggedObject
from suture.match.correlate import _Correlation, correlate
from suture.match.linker_edit import Kind
from suture.match.match import Match, NoMatch
from suture.match.run import Run, Slot, SlotKind
from suture.number import Vaddr
from tests.delta.compiled import object_of

UNIT = """
#include <unistd.h>
extern long outside(long);
static long state = 3, zeroed;
static const long table[] = {5, 9, 14, 2};
__attribute__((noinline)) static long inner(long x) { long r = state; for (long n = 0; n < x;
    n++) r = r * 7 + table[n & 3]; return r; }
__attribute__((noinline)) static long second(long x) { zeroed += inner(x) ^ 0x1234567; return zeroed * 3 + outside(x); }
long entry(long x) { if (x < 0) x = getppid(); return inner(x + 1) + second(x) * 11; }
long other(long x) { state += x; return inner(state) - 77 * x; }
"""
OTHER = "long unrelated(long x) { return x * 3; }\nlong outside(long x) { return x ^ 0x55aa; }\n"
SOURCES = {"a.c": UNIT, "b.c": OTHER}
SHAPES = ("library", "pie", "fixed")


def packaged(package: Any, shape: str = "library", sources: dict[str, str] = SOURCES) -> Any:
    return package(sources, {}, "entry other", shape)


def found(
    made: Any,
    binary: Path | None = None,
    stage: str = "pre",
    unit: str = "a.c",
    callers: Callable[[str], Vaddr | None] = lambda _: None,
) -> Match:
    plain, sections = (made.object(stage, unit, v) for v in (Variant.PLAIN, Variant.SECTIONS))
    return correlate(unit, unit + ".o", plain, sections, Run.read(binary or made.shipped), callers)


def altered(made: Any, address: int, data: bytes) -> Path:
    """A copy of the shipped file with other bytes at a link-time address."""
    elf = ElfFile.read(made.shipped)
    section = next(s for s in elf.sections if s.sh_addr <= address < s.sh_addr + s.sh_size and s.has_bits)
    at = section.sh_offset + address - section.sh_addr
    out: Path = made.folder / "altered"
    out.write_bytes(elf.data[:at] + data + elf.data[at + len(data) :])
    return out


def calls_of(made: Any, name: str) -> list[int]:
    """Addresses of the `call` instructions to a function, as objdump sees them."""
    out = subprocess.run(["objdump", "-d", made.unstripped], capture_output=True, text=True, check=True).stdout
    rows = [r for r in out.splitlines() if r.rstrip().endswith(f"<{name}>") and "call" in r]
    return [int(r.split(":")[0], 16) for r in rows]


@pytest.mark.parametrize("shape", SHAPES)
def test_all_functions_and_variables_lie_where_nm_says(package: Any, shape: str) -> None:
    made = packaged(package, shape)
    match, nm = found(made), made.symbols()
    assert match.unit.whole
    for name in ("inner", "second", "entry", "other"):
        assert (match.functions[name].address, match.functions[name].size) == nm[name]
    for name in ("state", "zeroed", "table"):
        assert match.address_of(name) == nm[name][0]
    assert {"inner", "second", "entry", "other"} <= match.verified
    assert set(match.unit.agreed_symbols) == ({"entry", "other"} if shape == "library" else set())


def test_the_proof_counts_all_bytes_but_those_that_the_linker_fills_in(package: Any) -> None:
    made = packaged(package)
    (section,) = (s for s in found(made).unit.sections if s.name == ".text")
    plain = made.object("pre", "a.c", Variant.PLAIN)
    text = plain.section(".text")
    assert section.size == text.sh_size
    rows = plain.relocations_by_section[text.index]
    assert section.size - 7 * len(rows) <= section.compared <= section.size - 4 * len(rows)


@pytest.mark.parametrize("shape", SHAPES)
def test_other_code_is_not_found(package: Any, shape: str) -> None:
    """One constant differs in each function."""
    made = package(SOURCES, ("r * 7", "r * 9"), "entry other", shape)
    (made.tree / "a.c").write_text(
        UNIT.replace("r * 7", "r * 9").replace("* 3 +", "* 5 +").replace("* 11", "* 13").replace("77", "79")
    )
    for variant in (Variant.PLAIN, Variant.SECTIONS):
        made.compile("post", "a.c", variant.value, variant.name)
    with pytest.raises(NoMatch) as raised:
        found(made, stage="post")
    assert raised.value.what.startswith("a.c: not found in ")


def test_where_one_function_differs_those_whose_place_is_known_are_found_and_it_is_not(package: Any) -> None:
    made = package(SOURCES, ("- 77 * x", "- 78 * x"), "entry other")
    match, nm = found(made, stage="post"), made.symbols()
    assert not match.unit.whole
    assert match.functions["entry"].address == nm["entry"][0]
    # `inner` and `second` are placed by what `entry` calls
    assert match.functions["inner"].address == nm["inner"][0] and "inner" in match.verified
    assert "other" not in match.functions and "other" not in match.verified


HIDDEN = (
    '__attribute__((visibility("hidden"))) long hidden_%d(long x) { long r = 1; for (long n = 0; n < x; n++) r = r * '
    "31 + (r >> 3) + n * 5 - 77; return r; }\n"
)


def test_code_that_is_there_twice_is_not_found_by_its_bytes(package: Any) -> None:
    sources = {
        **SOURCES,
        "c.c": HIDDEN % 1,
        "d.c": HIDDEN % 2,
        "e.c": "long hidden_1(long), hidden_2(long);\nlong both(long x) { return hidden_1(x) + 3 * hidden_2(x); }\n",
    }
    made = package(sources, {}, "entry other both")
    with pytest.raises(NoMatch, match="found 2 times"):
        found(made, unit="c.c")


def test_an_export_tells_two_copies_apart(package: Any) -> None:
    sources = {
        **SOURCES,
        "c.c": (HIDDEN % 1).replace("hidden", "default"),
        "d.c": (HIDDEN % 2).replace("hidden", "default"),
    }
    made = package(sources, {}, "entry other")
    nm = made.symbols()
    for unit, name in (("c.c", "default_1"), ("d.c", "default_2")):
        assert found(made, unit=unit).functions[name].address == nm[name][0]
        assert found(made, unit=unit).unit.agreed_symbols == (name,)


def test_a_copy_is_not_taken_for_a_function_that_the_library_exports_with_other_code(package: Any) -> None:
    sources = {
        **SOURCES,
        "c.c": (HIDDEN % 1).replace("hidden", "default"),
        "d.c": (HIDDEN % 2).replace("hidden", "default"),
    }
    made = package(sources, {}, "entry other")
    changed = altered(made, made.symbols()["default_1"][0], b"\x0f\x0b")
    assert found(made, changed, unit="d.c").functions["default_2"].address == made.symbols()["default_2"][0]
    with pytest.raises(NoMatch, match="found nowhere"):
        found(made, changed, unit="c.c")


def test_a_few_bytes_are_no_proof_unless_an_export_says_whose_they_are(package: Any) -> None:
    """The code is there once; so short, it may be anything's."""
    tiny = '__attribute__((visibility("hidden"))) long tiny(long x) { return x * 0x1234; }\n'
    sources = {
        **SOURCES,
        "c.c": tiny,
        "d.c": "long tiny(long);\nlong user(long x) { return tiny(x) + 5 * tiny(x + 1); }\n",
    }
    made = package(sources, {}, "entry other user")
    with pytest.raises(NoMatch, match="too short"):
        found(made, unit="c.c")
    here = made.symbols()["tiny"][0]
    asked = found(made, unit="c.c", callers=lambda name: here if name == "tiny" else None)
    assert asked.unit.whole and asked.functions["tiny"].address == here
    for elsewhere in (made.symbols()["user"][0], here + 1, 0):
        with pytest.raises(NoMatch, match="too short"):
            found(made, unit="c.c", callers=lambda name, at=elsewhere: Vaddr(at))  # type: ignore[misc]
    shown = package({**sources, "c.c": tiny.replace("hidden", "default")}, {}, "entry other user")
    match = found(shown, unit="c.c")
    assert match.unit.whole and match.functions["tiny"].address == shown.symbols()["tiny"][0]


LOOKALIKE = """
extern long outside%(n)d(long) __attribute__((visibility("hidden")));
__attribute__((cold, noinline, visibility("hidden"))) long cold%(n)d(long x) { long r = x * 77;
    while (x-- > 0) r = r * 5 + outside%(n)d(r); return r; }
__attribute__((visibility("hidden"))) long warm%(n)d(long x) { long r = %(n)d;
    while (x-- > 0) r = r * 31 + outside%(n)d(x) * 9; return r; }
"""


def test_of_two_lookalikes_the_one_that_agrees_with_what_is_known_is_taken(package: Any) -> None:
    """The cold functions of two units differ in nothing but in what they call; what each calls shows elsewhere in its
    unit."""
    last = "".join(f"long outside{n}(long x) {{ return x ^ {n + 5}; }}\n" for n in (1, 2)).replace(
        "long outside", '__attribute__((visibility("hidden"))) long outside'
    )
    user = (
        "long cold1(long), cold2(long), warm1(long), warm2(long);\n"
        "long user(long x) { return cold1(x) + cold2(x) + warm1(x) + warm2(x); }\n"
    )
    sources = {**SOURCES, "c.c": LOOKALIKE % {"n": 1}, "d.c": LOOKALIKE % {"n": 2}, "e.c": last + user}
    made = package(sources, {}, "entry other user")
    nm = made.symbols()
    for unit, name in (("c.c", "cold1"), ("d.c", "cold2")):
        match = found(made, unit=unit)
        assert match.unit.whole and match.functions[name].address == nm[name][0]


def test_two_places_that_imply_different_addresses_are_an_error(package: Any) -> None:
    """Of two calls of one function one leads elsewhere; nobody may be sent to either."""
    made = packaged(package, "pie", {**SOURCES, "a.c": UNIT.replace("- 77 * x", "- 77 * outside(x)")})
    nm = made.symbols()
    at = calls_of(made, "outside")[0]
    wrong = altered(made, at + 1, struct.pack("<i", nm["unrelated"][0] - (at + 5)))
    with pytest.raises(Contradiction, match="outside"):
        found(made, wrong)


def test_a_call_inside_the_unit_that_leads_elsewhere_is_no_match(package: Any) -> None:
    """One of the two calls of `inner` leads elsewhere in the binary."""
    made = packaged(package, "pie")
    nm = made.symbols()
    at = calls_of(made, "inner")[0]
    wrong = altered(made, at + 1, struct.pack("<i", nm["second"][0] - (at + 5)))
    with pytest.raises(NoMatch):
        found(made, wrong)


@pytest.mark.parametrize("shape", SHAPES)
def test_a_call_through_the_plt_must_be_one_of_the_same_name(package: Any, shape: str) -> None:
    """The binary's other import stands where the unit calls getppid."""
    sources = {**SOURCES, "b.c": "#include <unistd.h>\nlong outside(long x) { return x ^ getpid(); }\n"}
    made = package(sources, {}, "entry other", shape)
    run = Run.read(made.shipped)
    plt = {run.slots[slot].symbol: entry for entry, slot in run.plt.items()}
    (at,) = calls_of(made, "getppid@plt")
    assert found(made).book.get(Kind.CALL, "getppid") == plt["getppid"]
    wrong = altered(made, at + 1, struct.pack("<i", plt["getpid"] - (at + 5)))
    try:
        match = found(made, wrong)
    except NoMatch:
        return
    assert "entry" not in match.functions and match.book.get(Kind.CALL, "getppid") is None


def test_an_instruction_in_place_of_a_field_is_no_match(package: Any) -> None:
    """`mov x@GOTPCREL(%rip)` may become `lea`, and nothing else."""
    source = {"a.c": "extern long shared;\n" + UNIT.replace("return inner(x + 1)", "shared += x; return inner(x + 1)"),
              "b.c": OTHER + "long shared = 4;\n"}  # fmt: skip
    made = package(source, {}, "entry other")
    assert found(made).unit.whole
    plain = made.object("pre", "a.c", Variant.PLAIN)
    text = plain.section(".text")
    load = next(r for r in plain.relocations_by_section[text.index] if plain.symbols[r.symbol].name == "shared")
    base = found(made).unit.sections[0].address
    wrong = altered(made, base + load.r_offset - 2, b"\x89")
    try:
        match = found(made, wrong)
    except NoMatch:
        return
    assert "entry" not in match.functions and not match.unit.whole


def test_what_comes_of_it_does_not_depend_on_the_symbol_table_of_the_binary(package: Any) -> None:
    made = packaged(package)
    stripped, full = found(made), found(made, made.unstripped)
    assert stripped.functions == full.functions and list(stripped.book.items()) == list(full.book.items())


def comdats(package: Any, first: str, second: str) -> Any:
    """Two units with an inline function of one name: the linker keeps that of the first and drops the other."""
    shared = (
        "__attribute__((noinline)) inline long shared(long x) { long r = x; for (long n = 1; n < x; n++) r = %s; "
        "return r; }\n"
    )
    user = (
        'extern "C" long %s(long x) { long r = shared(x) + 3; for (long n = 0; n < x; n++) r ^= r * 5 + n; return r; '
        "}\n"
    )
    sources = {
        "a.cc": shared % first + user % "entry",
        "b.cc": shared % second + user.replace("* 5 + n", "* 9 - n") % "other",
    }
    return packaged(package, "library", sources)


def test_of_a_group_that_the_linker_dropped_the_kept_copy_is_found(package: Any) -> None:
    made = comdats(package, "r * 31 + (r >> 3) + n", "r * 31 + (r >> 3) + n")
    kept = made.symbols()["_Z6sharedl"][0]
    for unit in ("a.cc", "b.cc"):
        match = found(made, unit=unit)
        assert match.address_of("_Z6sharedl") == kept
        assert "_Z6sharedl" in match.verified


def test_a_kept_copy_with_other_code_than_the_dropped_one_is_not_taken_for_it(package: Any) -> None:
    made = comdats(package, "r * 31 + (r >> 3) + n", "r * 37 - (r >> 5) + n")
    assert "_Z6sharedl" in found(made, unit="a.cc").verified
    match = found(made, unit="b.cc")
    assert "_Z6sharedl" not in match.verified
    assert match.functions["other"].address == made.symbols()["other"][0]


BASE = Vaddr(0x10000)
FIELDS = """
.section .text.f,"ax"
.globl f, g, outside, other
.type f,@function
.type g,@function
f: call f
 call g
 call outside
 mov outside@GOTPCREL(%rip), %rax
 call other
 lea state(%rip), %rsi
 ret
.size f,.-f
g: ret
.size g,.-g
.section .data.state,"aw"
state: .quad 2
"""


@dataclass
class Binary:
    """One piece of code, and what its fields may lead to."""

    code: bytes
    slots: dict[int, Slot] = field(default_factory=dict)
    plt: dict[int, int] = field(default_factory=dict)
    main: Vaddr | None = None

    def code_at(self, address: int, size: int) -> bytes | None:
        return self.code if (address, size) == (BASE, len(self.code)) else None


def placed(*targets: int, slots: dict[int, str], plt: dict[int, int]) -> tuple[_Correlation, TaggedObject, Any]:
    """The code with its fields filled in as the linker does, and a binary that has it."""
    obj = TaggedObject(ElfFile(object_of(FIELDS, suffix=".s"), "a.o"), "plain")
    section = obj.code[0]
    code = bytearray(obj.elf.bytes_of(section))
    for row, target in zip(obj.relocations(section), targets, strict=True):
        struct.pack_into("<i", code, row.r_offset, target - (BASE + row.r_offset + 4))
    known = {at: Slot(Vaddr(at), SlotKind.SYMBOL, name, "", 0, False, True) for at, name in slots.items()}
    binary = Binary(bytes(code), known, plt)
    return _Correlation("a.c", cast(Run, binary), lambda _: None), obj, section


def test_fields_that_lead_to_what_they_name_are_proof_like_the_bytes_between_them() -> None:
    """Four bytes each: calls of the section's own functions, of a name through its slot, and a load of that slot."""
    g = BASE + 35
    for slots, wanted in (
        ({0x30000: "outside", 0x50000: ""}, 16),
        ({0x30000: "elsewhere", 0x50000: ""}, 8),
        ({}, 8),
    ):
        work, obj, section = placed(BASE, g, 0x1020, 0x30000, 0x20000, 0x50000, slots=slots, plt={0x1020: 0x30000})
        assert obj.functions[section.index][1].st_value == g - BASE
        assert work._named(obj, section, BASE) == wanted, slots


def test_code_that_calls_itself_lies_where_its_calls_lead() -> None:
    g = BASE + 35
    for own, other, fits in ((BASE, g, True), (g, g, False), (BASE, BASE, False), (BASE + 0x100, g, False)):
        work, obj, section = placed(own, other, 0x1020, 0x30000, 0x20000, 0x50000, slots={}, plt={})
        assert work._leads_back(obj, section, BASE) is fits, (own, other)
    work, obj, section = placed(0x1040, g, 0x1020, 0x30000, 0x20000, 0x50000, slots={}, plt={0x1040: 0x30008})
    assert work._leads_back(obj, section, BASE), "a call through the PLT goes where the loader decides"
    assert not work._leads_back(obj, section, Vaddr(BASE + 16)), "there is no such code"


def test_callers_are_asked_for_a_few_names_and_the_program_for_main() -> None:
    names = ["a", "b", "c", "main", "d", "e"]
    text = '.section .text.all,"ax"\n' + "".join(
        f".globl {n}\n.type {n},@function\n{n}: nop\n.size {n},1\n" for n in names
    )
    obj = TaggedObject(ElfFile(object_of(text, suffix=".s"), "a.o"), "plain")
    asked = []

    def callers(name: str) -> Vaddr | None:
        asked.append(name)
        return Vaddr(0x1000) if name == "b" else None

    work = _Correlation("a.c", cast(Run, Binary(b"", main=Vaddr(0x7003))), callers)
    assert list(work._from_outside(obj, obj.code[0])) == [0x7000, 0xFFF]
    assert asked == ["a", "b", "c"]


TABLE = """
extern long far1(long) __attribute__((visibility("hidden"))), far2(long) __attribute__((visibility("hidden")));
extern int getppid(void); extern char *environ[];
__asm__(".globl ten\\n.set ten, 10");
struct ops { long number; long (*run)(long); int (*import)(void); };
static const struct ops table[2] = {{7, far1, getppid}, {9, far2, 0}};
long entry(long x) { for (long n = 0; n < x; n++) x ^= table[n & 1].number * 77 + n; return table[x & 1].run(x); }
long other(long x) { return far2(x * 5 + 3) * 11 - 1234567 * x; }
"""
FAR = "".join(
    f'__attribute__((visibility("hidden"))) long far{n}(long x) {{ return x * {n + 6} + 0x1234; }}\n' for n in (1, 2)
)


@pytest.mark.parametrize("shape", SHAPES)
def test_a_table_of_pointers_names_what_no_code_refers_to(package: Any, shape: str) -> None:
    made = packaged(package, shape, {"a.c": TABLE, "b.c": FAR})
    match, nm = found(made), made.symbols()
    assert match.address_of("table") == nm["table"][0]
    assert match.book.get(Kind.ADDRESS, "far1") == nm["far1"][0]
    assert match.book.get(Kind.ADDRESS, "far2") == nm["far2"][0]
    assert match.address_of("ten") is None, "a number with a name is no variable"


def test_a_table_that_differs_from_the_compiled_one_names_nothing(package: Any) -> None:
    made = packaged(package, "pie", {"a.c": TABLE, "b.c": FAR})
    at = made.symbols()["table"][0]
    match = found(made, altered(made, at, struct.pack("<q", 8)))
    assert match.unit.whole and match.book.get(Kind.ADDRESS, "far1") is None


def test_a_pointer_and_a_call_that_contradict_one_another_are_an_error(package: Any) -> None:
    twice = TABLE.replace("{{7, far1,", "{{7, far2,")
    made = packaged(package, "fixed", {"a.c": twice, "b.c": FAR})
    at, nm = made.symbols()["table"][0], made.symbols()
    assert found(made).book.get(Kind.ADDRESS, "far2") == nm["far2"][0]
    with pytest.raises(Contradiction, match="address of far2"):
        found(made, altered(made, at + 8, struct.pack("<q", nm["far1"][0])))
