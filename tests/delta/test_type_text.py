"""Types spelled out, of a unit in both versions of the format."""

from __future__ import annotations

import pytest

from suture.delta.die import Die, Tag
from suture.delta.dwarf import Dwarf
from suture.delta.type_text import Member, Speller, enumerators, scope_of, size_of
from suture.elf.file import ElfFile
from tests.delta.compiled import object_of

C = """
enum colour { RED = -3, GREEN = 70000 };
typedef struct { int a : 3; unsigned b : 5; long c : 40; char d; } packed;
typedef const int number;
struct node { struct node *next; number v[4][5]; union { long l; double d; }; void (*hook)(struct node *, ...);
    int rest[]; };
packed v1; volatile number *v2; struct node *v3; enum colour v4; const packed v5[3]; int (*v6)(void); void *v7;
    struct { int x; } v8;
union { int i; char c[7]; } v9; struct opaque *v10; double (*v11[2])(char, packed *); enum { A, B = 7 } v12;
    long double v13; _Atomic int v14;
struct { struct { short s; } in; int : 4; int f : 4; } v15; int *restrict v16; int v17[]; struct list {
    struct list *l; struct list (*f)(struct list); } v18;
int use(struct node *n) { return n->v[0][0]; }
"""
SPELLED = {
    "v1": "struct packed",
    "v2": "int *",
    "v3": "struct node *",
    "v4": "enum colour",
    "v5": "struct packed[3]",
    "v6": "int (void) *",
    "v7": "void *",
    "v8": "struct {4 bytes: int x at 0 bits 32}",
    "v9": "union {8 bytes: int i at 0 bits 32, char[7] c at 0 bits 56}",
    "v10": "struct opaque *",
    "v11": "double (char, struct packed *) *[2]",
    "v12": "enum {A = 0, B = 7}",
    "v13": "long double",
    "v14": "int",
    "v15": "struct {4 bytes: struct {2 bytes: short int s at 0 bits 16} in at 0 bits 16, int f at 20 bits 4}",
    "v16": "int *",
    "v18": "struct list",
}


def read(text: str, *flags: str, suffix: str = ".c") -> tuple[Dwarf, Speller]:
    dwarf = Dwarf(ElfFile(object_of(text, *flags, suffix=suffix)))
    return dwarf, Speller(dwarf)


def variable(dwarf: Dwarf, name: str) -> Die | None:
    return dwarf.reference(next(d for d in dwarf.walk() if d.name == name and d.tag in (Tag.VARIABLE, Tag.MEMBER)))


def struct_of(dwarf: Dwarf, name: str) -> Die:
    return next(
        d for d in dwarf.walk() if d.name == name and d.tag in (Tag.STRUCT, Tag.CLASS, Tag.UNION) and d.children
    )


@pytest.mark.parametrize("version", ["-gdwarf-5", "-gdwarf-4"])
def test_equal_text_is_equal_layout(version: str) -> None:
    dwarf, speller = read(C, version)
    assert {n: speller.spell(variable(dwarf, n)) for n in SPELLED} == SPELLED
    assert speller.spell(None) == "void"


@pytest.mark.parametrize("version", ["-gdwarf-5", "-gdwarf-4"])
def test_members_have_their_place_in_bits(version: str) -> None:
    dwarf, speller = read(C, version)
    packed = variable(dwarf, "v1")
    while packed is not None and packed.tag == Tag.TYPEDEF:
        packed = dwarf.reference(packed)
    assert packed is not None
    assert speller.members(packed) == {
        "a": Member(0, 3, "int"),
        "b": Member(3, 5, "unsigned int"),
        "c": Member(8, 40, "long int"),
        "d": Member(48, 8, "char"),
    }
    node = struct_of(dwarf, "node")
    assert speller.members(node) == {
        "next": Member(0, 64, "struct node *"), "v": Member(64, 640, "int[4][5]"),
        "(unnamed 2)": Member(704, 64, "union {8 bytes: long int l at 0 bits 64, double d at 0 bits 64}"),
        "hook": Member(768, 64, "void (struct node *, ...) *"), "rest": Member(832, 0, "int[None]"),
    }  # fmt: skip
    assert {n: m.is_callback for n, m in speller.members(node).items() if n in ("next", "hook", "v")} == {
        "next": False, "hook": True, "v": False,
    }  # fmt: skip
    assert not Member(0, 64, "(recursive) *").is_callback and not Member(0, 32, "f(x)").is_callback
    assert (size_of(node), speller.size(node), speller.size(None)) == (104, 104, 0)
    assert speller.size(variable(dwarf, "v5")) == 24
    assert [speller.size(variable(dwarf, n)) for n in ("v7", "v11", "v9", "v13")] == [8, 16, 8, 16]


def test_a_pointer_without_a_size_has_eight_bytes() -> None:
    assert size_of(Die(0, Tag.POINTER, {}, None)) == 8
    assert size_of(Die(0, Tag.STRUCT, {}, None)) == 0


def test_enumerators_are_told_by_name() -> None:
    dwarf, _ = read(C, "-gdwarf-5")
    colour = next(d for d in dwarf.walk() if d.name == "colour")
    assert enumerators(colour) == {"RED": -3, "GREEN": 70000}


CXX = """
namespace space { struct Base { virtual int m(int); static int shared; int x; }; namespace { struct Hidden { int h; }
    hidden; } }
struct Derived : space::Base { struct Inner { long l; } in; int Base::*p; int (Base::*q)(int); };
struct Lower : virtual space::Base { int low; };
int take(Derived &d, int &&r, decltype(nullptr) n) { struct Local { int z; } l = {1};
    return d.x + l.z + space::hidden.h; }
Derived derived; Lower lower;
"""


@pytest.mark.parametrize("version", ["-gdwarf-5", "-gdwarf-4"])
def test_types_of_cxx_are_named_by_their_full_scope(version: str) -> None:
    dwarf, speller = read(CXX, version, "-femit-class-debug-always", suffix=".cc")
    scopes = {d.name: scope_of(d) for d in dwarf.walk() if d.tag == Tag.STRUCT and d.name}
    assert scopes["Base"] == "space::" and scopes["Inner"] == "Derived::" and scopes["Local"] == "take::"
    assert scopes["Hidden"] == "space::(anonymous)::"
    derived = speller.members(struct_of(dwarf, "Derived"))
    assert derived["base struct space::Base"] == Member(0, 128, "struct space::Base")
    assert derived["in"] == Member(128, 64, "struct Derived::Inner")
    assert derived["p"].type == "int ::*" and derived["q"].type.endswith("::*")
    base = speller.members(struct_of(dwarf, "Base"))
    assert "shared" not in base and base["x"] == Member(64, 32, "int") and len(base) == 2
    low = speller.members(struct_of(dwarf, "Lower"))
    assert low["base struct space::Base"].at >= 1 << 32  # an expression tells where it is
    take = next(d for d in dwarf.walk() if d.name == "take")
    assert speller.parameters(take) == "struct Derived &, int &, decltype(nullptr)"
    assert speller.parameters(Die(0, Tag.SUBROUTINE_TYPE, {}, None)) == "void"


NESTED = """
typedef struct { short s; struct { int i; char *p; } deep; } inner;
struct outer { char c; const inner in; long l; union { int u; float f; } either; inner two[2]; inner *far; } v1;
struct flat { char c; short s; int i; char *p; long l; } v2;
"""


@pytest.mark.parametrize("version", ["-gdwarf-5", "-gdwarf-4"])
def test_leaves_are_members_at_their_place_in_the_whole_whatever_structures_are_around_them(version: str) -> None:
    """gcc's offsets: of `in` 8, of `deep` 8 in it, of `l` 32."""
    dwarf, speller = read(NESTED, version)
    found = [(n, m.at // 8, m.type) for n, m in speller.leaves(struct_of(dwarf, "outer"))]
    assert found[:5] == [
        ("c", 0, "char"),
        ("s", 8, "short int"),
        ("i", 16, "int"),
        ("p", 24, "char *"),
        ("l", 32, "long int"),
    ]
    assert [(n, at) for n, at, _ in found[5:]] == [("either", 40), ("two", 48), ("far", 96)]
    flat = struct_of(dwarf, "flat")
    assert speller.leaves(flat) == list(speller.members(flat).items()) and len(speller.leaves(flat)) == 5


def test_leaves_of_a_class_with_a_static_member_are_its_members() -> None:
    text = "struct Inner { int i; }; struct Outer { static int shared; Inner in; long l; }; Outer v;"
    dwarf, speller = read(text, "-gdwarf-4", "-femit-class-debug-always", suffix=".cc")
    outer = struct_of(dwarf, "Outer")
    assert [n for n, _ in speller.leaves(outer)] == ["in", "l"] == list(speller.members(outer))
