"""Debug information as pyelftools reads it, of C and C++ in both versions of the format."""

from __future__ import annotations

import io
import struct

import pytest
from elftools.dwarf import enums
from elftools.elf.elffile import ELFFile

from suture.delta.die import At, Die, Tag, Value
from suture.delta.dwarf import Dwarf
from suture.elf.abi import R
from suture.elf.file import BadElf, ElfFile
from tests.delta.compiled import object_of

C = """
#include <stddef.h>
enum colour { RED = -3, GREEN = 70000 };
typedef struct { int a : 3; unsigned b : 5; const volatile char *p; } packed;
struct node { struct node *next; int v[4][5]; union { long l; double d; }; void (*hook)(struct node *, ...);
    int rest[]; };
static inline int helper(int x) { int y = x * 3; { int z = y; return z + x; } }
extern int outside(const struct node *restrict, packed);
static int local; size_t big; _Atomic int counter; const char text[] = "x";
int f(struct node *n, int x) { for (int i = 0; i < x; i++) { int k = helper(i); n->v[0][1] += k; }
    return outside(n, (packed){1}); }
int g(double d, ...) { struct inside { char c; } s = {1}; { long deep = s.c; local += deep; } return d; }
"""
CXX = """
namespace space { struct Base { virtual int m(int); static int shared; int x; }; }
template <class T> struct Box : virtual space::Base { T t; int m(int) override; enum class E : char { A, B = 9 }; };
template <> int Box<long>::m(int x) { auto f = [&](int &&y) { return y + x; }; return f(3) + (int)t; }
int (space::Base::*member)(int) = &space::Base::m;
int use(Box<long> &b, decltype(nullptr)) { return b.m(1); }
"""
CASES = [
    (C, ".c", "-gdwarf-5"),
    (C, ".c", "-gdwarf-4"),
    (CXX, ".cc", "-gdwarf-5"),
    (CXX, ".cc", "-gdwarf-4"),
    (C, ".c", "-gdwarf-5 -O0"),
]


def read(case: tuple[str, str, str], bodies: bool = True) -> tuple[Dwarf, ELFFile]:
    data = object_of(case[0], *case[2].split(), suffix=case[1])
    return Dwarf(ElfFile(data, "a.o"), bodies=bodies), ELFFile(io.BytesIO(data))


def value_of(die: object, name: str, attribute: object) -> object:
    """As we keep it: references as offsets in the section, strings as text."""
    value, form = attribute.value, attribute.form  # type: ignore[attr-defined]
    if form.startswith("DW_FORM_ref") and form != "DW_FORM_ref_addr":
        return value + die.cu.cu_offset  # type: ignore[attr-defined]
    if isinstance(value, bytes):
        return value.decode()
    if isinstance(value, list):
        return bytes(value)
    return int(value)


@pytest.mark.parametrize("case", CASES, ids=lambda c: c[1] + c[2])
def test_entries_are_those_of_another_reader(case: tuple[str, str, str]) -> None:
    mine, judge = read(case)
    theirs = {d.offset: d for cu in judge.get_dwarf_info().iter_CUs() for d in cu.iter_DIEs() if not d.is_null()}
    assert mine.by_offset.keys() == theirs.keys() and len(theirs) > 40
    for offset, die in mine.by_offset.items():
        other = theirs[offset]
        assert enums.ENUM_DW_TAG.get(other.tag, other.tag) == die.tag
        parent = other.get_parent()
        assert (die.parent.offset if die.parent else None) == (parent.offset if parent else None)
        wanted = {enums.ENUM_DW_AT[n]: value_of(other, n, a) for n, a in other.attributes.items() if isinstance(n, str)}
        assert {int(k): v for k, v in die.attributes.items()} == {k: v for k, v in wanted.items() if k in set(At)}
        assert [c.offset for c in die.children] == [c.offset for c in other.iter_children()]
        assert die.name == wanted.get(At.NAME, "")
    assert [u.offset for u in mine.units] == [cu.get_top_DIE().offset for cu in judge.get_dwarf_info().iter_CUs()]
    assert all(d.unit is mine.units[0] for d in mine.walk())


@pytest.mark.parametrize("case", CASES[:2], ids=lambda c: c[1] + c[2])
def test_without_bodies_blocks_inside_functions_are_left_out(case: tuple[str, str, str]) -> None:
    whole, some = read(case)[0], read(case, bodies=False)[0]
    left_out = {o: d for o, d in whole.by_offset.items() if o not in some.by_offset}
    assert left_out
    blocks = {o for o, d in left_out.items() if d.parent is not None and d.parent.tag == Tag.SUBPROGRAM}
    assert all(left_out[o].tag in (Tag.LEXICAL_BLOCK, Tag.INLINED) or left_out[o].tag > 0x40 for o in blocks)
    assert all(d.parent is not None and (o in blocks or d.parent.offset in left_out) for o, d in left_out.items())
    kept = {d.name for d in some.walk()}
    assert {"node", "packed", "f", "g", "x", "d", "inside", "s", "counter"} <= kept
    # what follows a function's body belongs to the unit again
    assert all(d.parent is some.units[0] for d in some.walk() if d.name in ("f", "g", "node", "counter"))


def named(d: Dwarf, name: str, tag: Tag) -> Die:
    return next(x for x in d.walk() if x.name == name and x.tag == tag)


def test_references_users_and_places() -> None:
    d, _ = read(CASES[0])
    parameter = next(c for c in named(d, "f", Tag.SUBPROGRAM).children if c.name == "n")
    pointer = d.reference(parameter)
    assert pointer is not None and pointer.tag == Tag.POINTER
    node = d.reference(pointer)
    assert node is named(d, "node", Tag.STRUCT)
    assert d.reference(node) is None
    assert pointer in d.users[node.offset] and node.offset not in {u.offset for u in d.users[node.offset]}
    lines = C.splitlines()
    for name, tag in (("node", Tag.STRUCT), ("f", Tag.SUBPROGRAM), ("counter", Tag.VARIABLE)):
        file, line = d.place(named(d, name, tag))
        assert file.endswith("a.c") and name in lines[line - 1]
    assert d.place(d.units[0]) == ("", 0)
    # an inlined function's body is declared where its origin is
    inlined = next(x for x in d.walk() if x.tag == Tag.INLINED)
    assert "helper" in lines[d.place(inlined)[1] - 1]


def test_a_definition_is_declared_where_its_declaration_in_the_class_is() -> None:
    d, _ = read(CASES[2])
    definition = next(x for x in d.walk() if x.tag == Tag.SUBPROGRAM and At.SPECIFICATION in x.attributes)
    assert d.place(definition)[1] > 0 and d.place(definition)[0].endswith("a.cc")


@pytest.mark.parametrize("case", CASES[:2], ids=lambda c: c[2])
def test_file_names_are_those_of_another_reader(case: tuple[str, str, str]) -> None:
    mine, judge = read(case)
    info = judge.get_dwarf_info()
    program = info.line_program_for_CU(next(info.iter_CUs()))
    names = mine.file_names(0)
    five = case[2] == "-gdwarf-5"
    rows = program["file_entry"]
    directories = [b"", *program["include_directory"]] if not five else program["include_directory"]
    made = [] if five else [""]
    for row in rows:
        folder = directories[row.dir_index].decode() if row.dir_index < len(directories) else ""
        name = row.name.decode()
        made.append(f"{folder}/{name}" if folder and not name.startswith("/") else name)
    assert names == made
    assert any(n.endswith("stddef.h") for n in names)


def test_what_cannot_be_read_is_an_error() -> None:
    data = object_of(C, "-gdwarf-5")
    elf = ElfFile(data, "a.o")
    section = elf.section(".debug_info")
    assert section is not None

    def patched(offset: int, raw: bytes) -> ElfFile:
        at = section.sh_offset + offset
        return ElfFile(data[:at] + raw + data[at + len(raw) :], "a.o")

    for version in (3, 6):
        with pytest.raises(BadElf, match=f"a.o: DWARF version {version}"):
            Dwarf(patched(4, struct.pack("<H", version)))
    with pytest.raises(BadElf, match="64-bit"):
        Dwarf(patched(0, b"\xff\xff\xff\xff"))
    with pytest.raises(BadElf, match="truncated"):
        Dwarf(patched(0, struct.pack("<I", section.sh_size - 3)))


def test_an_object_is_read_once_while_it_is_in_use() -> None:
    elf = ElfFile(object_of(C, "-gdwarf-5"))
    assert Dwarf.of(elf) is Dwarf.of(elf)
    assert list(Dwarf(ElfFile(object_of("int x;", "-g0"))).walk()) == []


@pytest.mark.parametrize(
    ("form", "raw", "value"),
    [
        (0x0A, b"\x02ab", b"ab"),
        (0x03, b"\x02\0ab", b"ab"),
        (0x04, b"\x02\0\0\0ab", b"ab"),
        (0x18, b"\x02ab", b"ab"),
        (0x08, b"ab\0", "ab"),
        (0x0D, b"\x7e", -2),
        (0x0F, b"\x81\x01", 129),
        (0x15, b"\x81\x01", 229),
        (0x1A, b"\x05", 5),
        (0x22, b"\x05", 5),
    ],
)
def test_each_form_of_variable_size(form: int, raw: bytes, value: object) -> None:
    d = Dwarf(ElfFile(object_of("int x;", "-g0")))
    d._info = b"zz" + raw + b"rest\0"
    found: dict[int, Value] = {}
    assert d._variable((At.NAME, form), 2, 100, found) == 2 + len(raw)
    assert found == {At.NAME: value}
    assert d._variable((0, form), 2, 100, found) == 2 + len(raw) and found == {At.NAME: value}
    with pytest.raises(BadElf, match="form 0x99"):
        d._variable((At.NAME, 0x99), 2, 100, found)


def units(*kinds: int, version: int = 5, code: bytes = b"\x01") -> Dwarf:
    """Units of one entry each, whose name is a letter."""
    d = Dwarf(ElfFile(object_of("int x;", "-g0"), "a.o"))
    d._abbrev = b"".join(dwarf_code + b"\x24\0\x03\x08\0\0" for dwarf_code in (code,)) + b"\0"
    info = b""
    for n, kind in enumerate(kinds):
        more = {4: 8, 5: 8, 2: 12, 6: 12}.get(kind, 0)
        body = struct.pack("<HBBI", version, kind, 8, 0) if version == 5 else struct.pack("<HIB", version, 0, 8)
        body += bytes(more if version == 5 else 0) + code + bytes([ord("a") + n]) + b"\0"
        info += struct.pack("<I", len(body)) + body
    d._info = info
    at = 0
    while at < len(info):
        at = d._unit(at)
    return d


def test_units_of_each_kind_have_headers_of_their_own_size() -> None:
    assert [u.name for u in units(1, 2, 3, 4, 5, 6).units] == list("abcdef")
    assert [u.name for u in units(1, 1, version=4).units] == ["a", "b"]
    assert [u.name for u in units(1, code=b"\x80\x01").units] == ["a"]
    assert [u.name for u in units(1, code=b"\x7f").units] == ["a"]


def test_an_entry_without_a_file_is_in_none() -> None:
    d, _ = read(CASES[0])
    die = Die(1, Tag.VARIABLE, {At.DECL_LINE: 7}, d.units[0])
    assert d.place(die) == ("", 7)
    die.attributes[At.DECL_FILE] = 99
    assert d.place(die) == ("", 7)
    assert d.place(Die(1, Tag.VARIABLE, {At.DECL_LINE: 7, At.DECL_FILE: 1}, Die(0, Tag.COMPILE_UNIT, {}, None))) == (
        "",
        7,
    )


BLOCKS = """
extern void sink(void *);
int f(int x)
{
  struct early { char c; } s = {1};
  sink(&s);
  if (x > 5) { int first = x * 3; sink(&first); }
  if (x < 3) { int second = x * 5; sink(&second); }
  return s.c;
}
int g(int x)
{
  if (x > 5) { int third = x * 3; sink(&third); }
  if (x < 3) { int fourth = x * 5; sink(&fourth); }
  return x;
}
int last;
"""


@pytest.mark.parametrize("version", ["-gdwarf-5", "-gdwarf-4"])
def test_without_bodies_each_block_that_something_follows_is_left_out(version: str) -> None:
    """Also behind a type inside of the function, and in the next function."""
    elf = ElfFile(object_of(BLOCKS, version))
    whole, some = ({d.name for d in Dwarf(elf, bodies=b).walk()} for b in (True, False))
    assert {"first", "second", "third", "fourth", "early", "last"} <= whole
    assert {"early", "c", "s", "f", "g", "x", "last"} <= some and not {"first", "third"} & some


def test_a_table_of_symbols_is_no_table_of_relocations_whatever_number_its_header_has() -> None:
    """Its sh_info counts local symbols (gABI, sh_link and sh_info), and may be the number of any section."""
    data = bytearray(object_of('__asm__(".globl ten\\n.set ten, 10"); ' + BLOCKS, "-g"))
    elf = ElfFile(bytes(data))
    symbols, info = elf.section(".symtab"), elf.section(".debug_info")
    assert symbols is not None and info is not None and any(s.st_value == R.R_32 for s in elf.symbols)
    headers = struct.unpack_from("<Q", data, 0x28)[0]
    struct.pack_into("<I", data, headers + 64 * symbols.index + 44, info.index)
    wanted = {(o, d.name) for o, d in Dwarf(elf).by_offset.items()}
    assert {(o, d.name) for o, d in Dwarf(ElfFile(bytes(data))).by_offset.items()} == wanted
