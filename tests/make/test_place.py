"""New code and data in the sections of a patch: readelf and the bytes of the compiler's objects are the judges."""

from __future__ import annotations

import struct
import subprocess
from dataclasses import dataclass, field
from types import SimpleNamespace
from typing import Any, cast

import pytest

from suture.compile.unit import Variant
from suture.delta.change import UnitChange
from suture.delta.selection import Node, Selection
from suture.elf.abi import R, SectionFlag, SectionType, SymbolBind, SymbolType
from suture.elf.call_frame import entries
from suture.elf.file import ElfFile
from suture.elf.object_writer import NewSymbol
from suture.make.indirect import detour
from suture.make.place import PatchSection, Placement
from suture.make.resolve import Resolver, Unresolvable
from suture.match.linker_edit import Kind
from suture.match.run import Run
from suture.number import Vaddr
from suture.patch.file import ALLOWED_RELOCATIONS, parse_patch
from suture.patch.manifest import ImportedSymbol, SymbolKind
from tests.delta.compiled import changed

SOURCE = """
#include <stdio.h>
static long state = 4;
long f(long x) { return x * 3 + state; }
long g(long x) { state += x; return state; }
"""
FIXED = """
#include <stdio.h>
static long state = 4, counted, limit = 9;
static const long table[] __attribute__((aligned(64))) = {3, 1, 4, 1, 5};
static const char *const names[] = {"twice", "once", "twice"};
__attribute__((noinline)) static long helper(long x) { counted += x; limit++; return counted + limit + table[x & 3]; }
long f(long x) { char b[20]; snprintf(b, sizeof b, "%s %s", names[x & 1], "once"); return helper(x) + b[0] + state; }
long g(long x) { state += x; return state; }
"""


@pytest.fixture
def made(package: Any) -> Any:
    return package(SOURCE, FIXED, "f g")


def test_an_output_aligns_each_piece_and_fills_code_with_traps_and_data_with_zeros() -> None:
    for name, fill in ((".text", b"\xcc"), (".text.orig", b"\xcc"), (".rodata", b"\0"), (".data", b"\0")):
        output = PatchSection(name)
        assert [output.append(b"abc", 1), output.append(b"de", 16), output.append(b"f", 4)] == [0, 16, 20]
        assert bytes(output.data) == b"abc" + fill * 13 + b"de" + fill * 2 + b"f" and output.align == 16


def test_sections_hold_what_their_flags_say(made: Any) -> None:
    elf = made.patch().object
    flags = {s.name: (s.sh_flags & 7, s.sh_type) for s in elf.sections if s.is_alloc and s.name != ".eh_frame"}
    code, data = SectionFlag.ALLOC | SectionFlag.EXECINSTR, SectionFlag.ALLOC | SectionFlag.WRITE
    assert flags == {
        ".text": (code, SectionType.PROGBITS),
        ".text.orig": (code, SectionType.PROGBITS),
        ".rodata": (SectionFlag.ALLOC, SectionType.PROGBITS),
        ".data": (data, SectionType.PROGBITS),
        ".bss": (data, SectionType.NOBITS),
    }
    rodata = elf.section(".rodata")
    assert rodata is not None and rodata.sh_addralign == 64


def test_readelf_takes_the_object_without_a_word(made: Any, tmp_path: Any) -> None:
    path = tmp_path / "p.o"
    path.write_bytes(made.patch().object.data)
    done = subprocess.run(["readelf", "--all", "--wide", path], capture_output=True, text=True, check=True)
    assert done.stderr == "" and " helper" in done.stdout


def test_new_code_is_the_compilers_but_for_its_fields(made: Any) -> None:
    patch = made.patch()
    post: ElfFile = made.object("post", "a.c", Variant.SECTIONS)
    text = patch.object.section(".text")
    assert text is not None
    for name in ("f", "helper"):
        symbol = patch.symbol(name)
        assert symbol.st_value % 16 == 0
        placed = bytearray(patch.object.bytes_of(text)[symbol.st_value : symbol.st_value + symbol.st_size])
        section = post.section(f".text.{name}")
        assert section is not None
        expected = bytearray(post.bytes_of(section))
        rows = post.relocations_by_section[section.index]
        ours = [
            r.r_offset - symbol.st_value
            for r in patch.object.relocations_by_section[text.index]
            if symbol.st_value <= r.r_offset < symbol.st_value + symbol.st_size
        ]
        assert ours == sorted(r.r_offset for r in rows)
        for offset in ours:
            placed[offset : offset + 4] = expected[offset : offset + 4] = bytes(4)
        assert placed == expected


def test_only_relocations_of_the_format_are_written(made: Any) -> None:
    elf = made.patch().object
    kinds = {r.r_type for rows in elf.relocations_by_section.values() for r in rows}
    assert kinds and kinds <= ALLOWED_RELOCATIONS and R.R_64 in kinds


def test_equal_strings_are_there_once(made: Any) -> None:
    elf = made.patch().object
    rodata = elf.section(".rodata")
    assert rodata is not None
    assert [elf.bytes_of(rodata).count(text) for text in (b"twice\0", b"once\0", b"%s %s\0")] == [1, 1, 1]


def test_running_state_is_the_images_and_new_state_is_the_patchs(made: Any) -> None:
    patch = made.patch()
    assert patch.manifest.symbols["state"].address == made.symbols()["state"][0]
    own = {s.name for s in patch.object.symbols if s.has_section}
    assert {"counted", "limit", "table", "names", "helper"} <= own and "state" not in own
    assert not {"counted", "limit", "table", "names", "helper"} & patch.manifest.symbols.keys()


def test_two_units_with_one_name_get_two_symbols(package: Any) -> None:
    unit = (
        "static long seen = {n};\nlong {f}(long x) {{ return x * {n}; }}\n"
        "long keep_{f}(long x) {{ seen += x; return seen; }}\n"
    )
    sources = {f"{f}.c": unit.format(n=n, f=f) for n, f in ((3, "one"), (5, "two"))}
    fix = {
        name: text.replace("return x * ", "static long now; now += x; return now * seen + x * ")
        for name, text in sources.items()
    }
    made = package(sources, fix, "one two keep_one keep_two")
    patch = made.patch()
    own = [s.name for s in patch.object.symbols if s.has_section and s.name.startswith("now")]
    assert len(own) == len(set(own)) == 2
    assert len({s.address for n, s in patch.manifest.symbols.items() if n.startswith("seen")}) == 2
    target = made.start()
    target.apply(patch)
    assert (target.ask("one", 2), target.ask("two", 2)) == (2 * 3 + 6, 2 * 5 + 10)


def test_the_same_change_is_laid_out_the_same(made: Any) -> None:
    assert made.build().data == made.build().data == parse_patch(made.build().data, "p").object.data


@dataclass
class Facts:
    """A running binary, as far as placing looks at it."""

    slots_of: dict[str, tuple[Any, ...]] = field(default_factory=dict)
    plt: dict[int, int] = field(default_factory=dict)
    exports: dict[str, tuple[Any, ...]] = field(default_factory=dict)
    is_symbolic: bool = False
    chosen: dict[int, tuple[int, ...]] = field(default_factory=dict)


def placed(
    change: UnitChange, facts: Facts | None = None, leads: dict[str, bytes] | None = None
) -> tuple[Placement, dict[str, list[tuple[int, int, str, int]]]]:
    """A fix of one unit laid out, and by function the relocations inside it: offset, type, symbol, addend."""
    selection = Selection((change,), {}, frozenset())
    accepted, rejected = selection.groups()
    assert accepted and not rejected
    nodes = {Node(0, n): raw for n, raw in (leads or {}).items()}
    made = Placement(selection, Resolver(cast(Run, facts or Facts()), lambda name: None), nodes)
    made.add(accepted)
    rows = {
        s.name: [
            (r.r_offset - s.st_value, r.r_type, r.symbol, r.r_addend)
            for r in sorted(made.outputs[str(s.section)].relocations, key=lambda r: r.r_offset)
            if s.st_value <= r.r_offset < s.st_value + s.st_size
        ]
        for s in made.symbols
    }
    return made, rows


def symbol(made: Placement, name: str) -> NewSymbol:
    return next(s for s in made.symbols if s.name == name)


def code_of(made: Placement, name: str) -> bytes:
    s = symbol(made, name)
    return bytes(made.outputs[str(s.section)].data[s.st_value : s.st_value + s.st_size])


N = "__attribute__((noinline)) "
UNIT = f"""
extern int outside(int); static int state = 3; static const int table[] = {{1, 2, 3, 4}};
{N}static int helper(int x) {{ __asm__(""); return x * 3 + state; }}
{N}static int other(int x) {{ __asm__(""); return outside(x) * 7; }}
{N}int f(int x) {{ __asm__(""); return helper(x) + other(x) + 1; }}
int (*volatile pointer)(int);
{N}int g(int x) {{ __asm__(""); pointer = helper; return x + table[x & 3]; }}
"""


def edited(*edits: tuple[str, str], text: str = UNIT, flags: tuple[str, ...] = ()) -> UnitChange:
    new = text
    for old, with_ in edits:
        assert old in new
        new = new.replace(old, with_)
    return changed(text, new, *flags)


F, HELPER, G = (") + 1", ") + 2"), ("x * 3", "x * 5"), ("return x + table", "return x - table")


def test_code_is_aligned_and_data_lies_as_close_as_it_may() -> None:
    new = ("static int state = 3;", "static int state = 3, one = 5, two = 6; static char three = 7;")
    change = edited(
        new, ("x * 3 + state", "x * 5 + state + one++ + two++ + three++"), (") + 1", ") + 2"), flags=("-Os",)
    )
    made, _ = placed(change)
    kinds = {s.name: (s.type, s.section, s.bind) for s in made.symbols}
    local = SymbolBind.LOCAL
    assert kinds["f"] == kinds["helper"] == (SymbolType.FUNC, ".text", local)
    assert kinds["one"] == kinds["two"] == (SymbolType.OBJECT, ".data", local)
    assert all(symbol(made, n).st_value % 16 == 0 for n in ("f", "helper"))
    assert made.outputs[".data"].align == 4 and len(made.outputs[".data"].data) <= 12
    assert made.outputs[".text"].align == 16


def test_what_new_code_has_to_undo_first_stands_directly_before_it() -> None:
    made, _ = placed(edited(F, HELPER), leads={"f": b"\x5d\x5b"})
    f, entry = symbol(made, "f"), symbol(made, "f.entry")
    text = bytes(made.outputs[".text"].data)
    assert text[f.st_value - 2 : f.st_value] == b"\x5d\x5b" and f.st_value % 16 == 0
    assert text[entry.st_value : f.st_value - 2] == b"\x90" * (f.st_value - 2 - entry.st_value)
    assert entry.st_value + entry.st_size == f.st_value + f.st_size and entry.type == SymbolType.FUNC
    assert not any(s.name == "helper.entry" for s in made.symbols)


def test_a_name_that_is_taken_gets_the_next_number() -> None:
    made, _ = placed(edited(F))
    assert [made.define("x", ".text", 0, 1, SymbolType.FUNC) for _ in range(3)] == ["x", "x~2", "x~3"]
    made.resolver.symbols["y"] = ImportedSymbol(SymbolKind.IMAGE, Vaddr(5))
    assert made.define("y", ".text", 0, 1, SymbolType.FUNC) == "y~2"


def test_each_piece_of_new_code_is_described_for_unwinding() -> None:
    made, _ = placed(edited(F, HELPER))
    frames = made.outputs[".eh_frame"]
    described = {r.symbol: r.r_addend for r in frames.relocations}
    assert described == {"f": 0, "helper": 0} and frames.align == 8
    sizes = [e.size for e in entries(bytes(frames.data))]
    assert sorted(sizes) == sorted(symbol(made, n).st_size for n in ("f", "helper"))


def test_new_code_calls_new_code_and_takes_the_address_of_what_all_know() -> None:
    change = edited(F, HELPER, G)
    _, rows = placed(change)
    run = {a.label: a for a in change.pre.atoms.values()}
    assert [s for _, _, s, _ in rows["f"]][:2] in (["helper", "other@run"], ["helper", "other"])
    assert {s for _, _, s, _ in rows["g"]} >= {"helper@run"}
    made, _ = placed(change)
    image = made.resolver.symbols
    assert image["helper@run"].address == change.address_of_pre(run["helper"])
    assert image["table"] == ImportedSymbol(SymbolKind.IMAGE, change.address_of_pre(run["table"]) or Vaddr(0))
    # where only the caller changes, it calls what runs
    made, rows = placed(edited(F))
    assert made.resolver.symbols["helper"].kind is SymbolKind.IMAGE and "helper" in {s for _, _, s, _ in rows["f"]}


@pytest.mark.parametrize(
    ("symbolic", "exported", "direct"), [(False, True, False), (True, True, True), (False, False, True)]
)
def test_a_call_of_an_exported_function_goes_where_the_loader_decides(
    symbolic: bool, exported: bool, direct: bool
) -> None:
    """Another binary may define it too."""
    text = UNIT.replace(f"{N}static int helper", f"{N}int helper")
    export = SimpleNamespace(st_value=0x9000, version="", hidden_version=False, type=SymbolType.FUNC)
    facts = Facts(exports={"helper": (export,)} if exported else {}, is_symbolic=symbolic)
    _, rows = placed(edited(F, HELPER, text=text), facts)
    assert ("helper" in {s for _, _, s, _ in rows["f"]}) is direct
    assert ("helper@import" in {s for _, _, s, _ in rows["f"]}) is not direct


@pytest.mark.parametrize(("plt", "direct"), [({0x1020: 0x7000}, False), ({}, True)])
def test_a_call_goes_on_as_the_running_code_makes_it(plt: dict[int, int], direct: bool) -> None:
    text = UNIT.replace(f"{N}static int helper", f"{N}int helper")
    change = edited(F, HELPER, text=text)
    change.match.book.add(Kind.CALL, "helper", 0x1020, "the test")
    export = SimpleNamespace(st_value=0x9000, version="", hidden_version=False, type=SymbolType.FUNC)
    _, rows = placed(change, Facts(plt=plt, exports={"helper": (export,)}))
    assert ("helper" in {s for _, _, s, _ in rows["f"]}) is direct


SWITCH = "switch (x) {{ case 0: return outside({0}1); case 1: return outside({0}5); case 2: return outside({0}3); "
SWITCH += "case 3: return outside({0}9); case 4: return outside({0}8); case 5: return outside({0}7); }}"
SWITCHES = f"""
extern int outside(int);
{N}int f(int x) {{ {SWITCH.format("")} return x + 1; }}
{N}int g(int x) {{ {SWITCH.format("1")} return x + 2; }}
"""


def test_a_switch_table_comes_along_and_leads_into_new_code() -> None:
    made, _ = placed(edited(("x + 1", "x + 3"), text=SWITCHES))
    rows = [r for r in made.outputs[".rodata"].relocations]
    assert len(rows) == 6 and {r.symbol for r in rows} == {"f"} and {r.r_type for r in rows} == {R.PC32}
    both = changed(SWITCHES, SWITCHES.replace("x + 1", "x + 3"), "-fno-data-sections")
    made, _ = placed(both)
    # of a pool that several functions share, entries of the others stay empty, since nothing reads them
    assert {r.symbol for r in made.outputs[".rodata"].relocations} == {"f"} and len(
        made.outputs[".rodata"].relocations
    ) == 6


STRINGS = f"""
extern int use(const char *, double); struct s {{ const char *a, *b; }};
{N}int f(int x) {{ return use("one", 1.5) + use("two" + 1, 2.5) + use("one", 2.5) + x; }}
"""


def test_strings_and_constants_are_copied_once_each() -> None:
    made, rows = placed(edited((") + x;", ") - x;"), text=STRINGS))
    pieces = {s.name: code_of(made, s.name) for s in made.symbols if s.section == ".rodata"}
    assert sorted(pieces.values()) == sorted(
        [b"one\0", b"two\0", struct.pack("<d", 1.5), struct.pack("<d", 2.5)]
    ) or sorted(pieces.values()) == sorted([b"one\0", b"wo\0", struct.pack("<d", 1.5), struct.pack("<d", 2.5)])
    named = {raw: n for n, raw in pieces.items()}
    used = [s for _, _, s, _ in rows["f"] if s in pieces]
    assert used.count(named[b"one\0"]) >= 1 and used.count(named[struct.pack("<d", 2.5)]) == 2
    assert all(
        n.startswith(".str." if raw.endswith(b"o\0") or raw == b"one\0" else ".const.") for n, raw in pieces.items()
    )
    assert symbol(made, named[struct.pack("<d", 1.5)]).st_value % 8 == 0
    assert {a for _, t, s, a in rows["f"] if s in pieces} <= {-4, -3}


DIRECT = f"extern int far; {N}int f(int x) {{ far += 77; return x + 1; }}"


def test_what_only_a_slot_leads_to_is_reached_by_a_detour() -> None:
    change = edited(("x + 1", "x + 2"), text=DIRECT, flags=("-fno-pic", "-fno-pie", "-mno-red-zone"))
    made, rows = placed(change)
    f, through = symbol(made, "f"), symbol(made, "far.through")
    (atom,) = (a for a in change.post.atoms.values() if a.label == "f")
    (ref,) = (r for r in atom.references if r.symbol == "far")
    start, end = change.post.instruction(atom, ref)
    code = code_of(made, "f")
    assert code[start : start + 5] == b"\xe9\0\0\0\0" and code[start + 5 : end] == b"\xcc" * (end - start - 5)
    assert (code[:start], code[end:]) == (atom.data[:start], atom.data[end:])
    assert rows["f"] == [(start + 1, R.PC32, "far.through", -4)]
    went = detour(atom.data[start:end], ref.offset - start, ref.addend + end - ref.offset)
    assert went is not None and through.st_size == len(went.code) + 5
    assert code_of(made, "far.through") == went.code + b"\xe9\0\0\0\0"
    assert rows["far.through"] == [
        (went.slot, R.GOTPCREL, "far@import", -4),
        (len(went.code) + 1, R.PC32, "f", end - 4),
    ]
    assert f.section == through.section == ".text" and made.resolver.symbols["far@import"].kind is SymbolKind.IMPORT


def test_a_place_that_must_be_fixed_and_is_not_in_the_binary_is_refused() -> None:
    text = "extern int far; int *f(int x) { return &far + x; }"
    change = edited(("+ x", "- x"), text=text, flags=("-fno-pic", "-fno-pie"))
    with pytest.raises(Unresolvable, match="it needs far at a fixed place, which is not in the shipped binary"):
        placed(change)


THREAD = (
    f"static __thread int mine = 3; {N}int f(int x) {{ mine += x; return mine + 1; }} int *h(void) {{ return &mine; }}"
)


def test_a_thread_local_variable_is_reached_as_the_running_code_reaches_it() -> None:
    flags = ("-ftls-model=initial-exec",)
    change = edited(("mine + 1", "mine + 2"), text=THREAD, flags=flags)
    with pytest.raises(Unresolvable, match="does not show where the thread-local variable mine lies"):
        placed(change)
    change.match.book.add(Kind.THREAD_SLOT, "mine", 0x5550, "the test")
    made, rows = placed(change)
    assert made.resolver.symbols["mine@tls"] == ImportedSymbol(SymbolKind.IMAGE, Vaddr(0x5550))
    (atom,) = (a for a in change.post.atoms.values() if a.label == "f")
    wanted = [(r.offset, R.PC32, "mine@tls", r.addend) for r in atom.references]
    assert rows["f"] == wanted and wanted
    offset = edited(("mine + 1", "mine + 2"), text=THREAD, flags=flags)
    offset.match.book.add(Kind.THREAD_OFFSET, "mine", -8, "the test")
    made, rows = placed(offset)
    assert rows["f"] == [] and b"\xf8\xff\xff\xff" in code_of(made, "f")
    module = edited(("mine + 1", "mine + 2"), text=THREAD, flags=("-ftls-model=local-dynamic",))
    module.match.book.add(Kind.LOCAL_MODULE_SLOT, "", 0x6660, "the test")
    module.match.book.add(Kind.MODULE_OFFSET, "mine", 16, "the test")
    made, _ = placed(module)
    assert made.resolver.symbols["mine@tls"] == ImportedSymbol(SymbolKind.IMAGE, Vaddr(0x6660))


POINTED = f"""
extern int outside(int);
{N}static int one(int x) {{ __asm__(""); return outside(x) * 3; }}
{N}static int two(int x) {{ __asm__(""); return outside(x) * 5; }}
int f(int x) {{ static int (*const table[])(int) = {{one, two}}; {SWITCH.format("")} return table[x & 1](x) + 1; }}
"""


def test_pointers_in_a_section_of_several_tables_lead_to_what_runs() -> None:
    """The functions are not in the patch, the section with the table is: beside it lies the new code's switch table."""
    flags = ("-fno-data-sections", "-fno-pic", "-fno-pie")
    made, _ = placed(edited((") + 1; }", ") + 2; }"), text=POINTED, flags=flags))
    named = [r.symbol for r in made.outputs[".rodata"].relocations]
    assert len(named) == 8 and named.count("f") == 6 and {"one", "two"} <= {*named}
    assert {made.resolver.symbols[n].kind for n in ("one", "two")} == {SymbolKind.IMAGE}


def test_a_detour_lies_directly_behind_what_was_there_before() -> None:
    flags = ("-fno-pic", "-fno-pie", "-mno-red-zone", "-Os")
    for more in ("", '__asm__("nop"); '):
        text = DIRECT.replace("far += 77;", f"{more}far += 77;")
        made, _ = placed(edited(("x + 1", "x + 2"), text=text, flags=flags))
        f, through = symbol(made, "f"), symbol(made, "far.through")
        assert through.st_value == f.st_value + f.st_size


def test_strings_lie_as_close_as_they_may() -> None:
    text = STRINGS.replace('"one"', '"at"')
    made, _ = placed(edited((") + x;", ") - x;"), text=text))
    pieces = sorted((s.st_value, s.st_size) for s in made.symbols if s.name.startswith(".str."))
    assert [size for _, size in pieces] in ([3, 4], [3, 3], [4, 3])
    assert pieces[1][0] == pieces[0][0] + pieces[0][1]
