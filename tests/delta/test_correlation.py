"""Which atom of post is which of pre. Objects are written by hand: sections, symbols, and who refers to whom."""

from __future__ import annotations

import pytest

from suture.delta.atom import AtomObject
from suture.delta.correlation import base_name, pair_atoms
from suture.elf.abi import R, SectionFlag, SectionType, SymbolBind, SymbolType
from suture.elf.file import ElfFile
from suture.elf.object_writer import NewRelocation, NewSection, NewSymbol, write_object
from suture.number import SectionOffset

A, W, X = SectionFlag.ALLOC, SectionFlag.WRITE, SectionFlag.EXECINSTR
KINDS = {
    "code": (".text.", A | X, SymbolType.FUNC),
    "data": (".data.", A | W, SymbolType.OBJECT),
    "constant": (".rodata.", A, SymbolType.OBJECT),
    "bss": (".bss.", A | W, SymbolType.OBJECT),
    "relro": (".data.rel.ro.", A | W, SymbolType.OBJECT),
    "thread": (".tdata.", A | W | SectionFlag.TLS, SymbolType.TLS),
    "pool": (".rodata.cst", A, None),
}
Row = tuple[str, str, bytes, tuple[str, ...]]


def row(kind: str, name: str, data: bytes = b"12345678", *refers: str) -> Row:
    return kind, name, data, refers


def obj(*rows: Row) -> AtomObject:
    """Each refers to others by a PC32 field at 8, 12, ... of its bytes."""
    sections, symbols = [], []
    for kind, name, data, refers in rows:
        prefix, flags, symbol_type = KINDS[kind]
        relocations = [NewRelocation(SectionOffset(8 + 4 * n), R.PC32, r, -4) for n, r in enumerate(refers)]
        raw = data.ljust(8 + 4 * len(refers), b"\x90")
        sh_type = SectionType.NOBITS if kind == "bss" else SectionType.PROGBITS
        sections.append(NewSection(prefix + name, flags, raw, 8, sh_type, len(raw), relocations))
        symbols.append(
            NewSymbol(
                name, prefix + name, SectionOffset(0), len(raw), symbol_type or SymbolType.NOTYPE, SymbolBind.LOCAL
            )
        )
    return AtomObject(ElfFile(write_object(sections, symbols)))


def paired(pre: AtomObject, post: AtomObject) -> tuple[dict[str, str], set[str]]:
    """Labels of post to those of pre, and those of post that are ambiguous."""
    pairs = pair_atoms(pre, post)
    assert pairs.post_of == {a: b for b, a in pairs.pre_of.items()}
    return (
        {post.atoms[n].label: pre.atoms[o].label for n, o in pairs.pre_of.items()},
        {post.atoms[n].label for n in pairs.ambiguous},
    )


def test_numbers_of_the_compiler_are_no_part_of_a_name() -> None:
    names = {
        "x.12": "x.#",
        "f.isra.0": "f.isra.#",
        "f.isra.0.cold": "f.isra.#.cold",
        "x": "x",
        "x1": "x1",
        "x.1.2": "x.#.#",
        "x.1a": "x.1a",
    }
    assert {n: base_name(n) for n in names} == names


def test_plain_names_pair_by_name_and_kind() -> None:
    pre = obj(row("code", "f"), row("data", "x"), row("constant", "c"), row("code", "gone"))
    post = obj(
        row("constant", "c", b"changed!"),
        row("code", "new"),
        row("data", "x", b"other size, too"),
        row("code", "f", b"other"),
    )
    assert paired(pre, post) == ({"f": "f", "x": "x", "c": "c"}, set())


def test_a_variable_may_become_zeroed_and_a_constant_get_addresses_but_not_more() -> None:
    assert paired(obj(row("data", "x")), obj(row("bss", "x"))) == ({"x": "x"}, set())
    assert paired(obj(row("constant", "x")), obj(row("relro", "x"))) == ({"x": "x"}, set())
    for a, b in (("data", "constant"), ("code", "data"), ("thread", "data"), ("code", "constant")):
        assert paired(obj(row(a, "x")), obj(row(b, "x"))) == ({}, set()), (a, b)


def test_a_numbered_name_pairs_with_its_like_whatever_the_number() -> None:
    assert paired(obj(row("code", "f.isra.0")), obj(row("code", "f.isra.1"))) == ({"f.isra.1": "f.isra.0"}, set())
    pre = obj(row("code", "f", b"", "n.1"), row("data", "n.1"))
    assert paired(pre, obj(row("code", "f", b"changed", "n.7"), row("data", "n.7"))) == (
        {"f": "f", "n.7": "n.1"},
        set(),
    )
    # an inlined copy's user has another number
    pre = obj(row("code", "f.part.0", b"", "n.1"), row("data", "n.1"))
    assert paired(pre, obj(row("code", "f.part.3", b"", "n.7"), row("data", "n.7")))[0]["n.7"] == "n.1"


@pytest.mark.parametrize("kind", ["data", "bss", "thread"])
def test_state_of_another_function_is_not_taken_for_it(kind: str) -> None:
    pre = obj(row("code", "f", b"", "n.1"), row(kind, "n.1"), row("code", "g"))
    post = obj(row("code", "f"), row("code", "g", b"", "n.1"), row(kind, "n.1"))
    assert paired(pre, post) == ({"f": "f", "g": "g"}, {"n.1"})
    # used by nobody, before and after
    assert paired(obj(row(kind, "n.1")), obj(row(kind, "n.2"))) == ({"n.2": "n.1"}, set())


def test_a_constant_of_another_function_may_be_it_since_its_contents_show() -> None:
    pre = obj(row("code", "f", b"", "n.1"), row("constant", "n.1"))
    post = obj(row("code", "g", b"", "n.1"), row("constant", "n.1"))
    assert paired(pre, post) == ({"n.1": "n.1"}, set())


def test_several_of_one_name_pair_by_their_users() -> None:
    pre = obj(row("code", "f", b"", "n.1"), row("code", "g", b"", "n.2"), row("data", "n.1"), row("data", "n.2"))
    post = obj(row("code", "g", b"x", "n.1"), row("code", "f", b"x", "n.2"), row("data", "n.1"), row("data", "n.2"))
    assert paired(pre, post) == ({"f": "f", "g": "g", "n.1": "n.2", "n.2": "n.1"}, set())


def test_of_one_function_they_pair_by_contents_then_by_size() -> None:
    one, two, long = b"one data", b"two data", b"long data of a size"
    pre = obj(
        row("code", "f", b"", "n.1", "n.2", "n.3"),
        row("data", "n.1", one),
        row("data", "n.2", two),
        row("data", "n.3", long),
    )
    post = obj(
        row("code", "f", b"x", "n.1", "n.2", "n.3"),
        row("data", "n.1", b"LONG DATA OF A SIZE"),
        row("data", "n.2", two),
        row("data", "n.3", one),
    )
    assert paired(pre, post) == ({"f": "f", "n.1": "n.3", "n.2": "n.2", "n.3": "n.1"}, set())


def test_variables_that_cannot_be_told_apart_stay_unpaired() -> None:
    pre = obj(row("code", "f", b"a", "n.1", "n.2"), row("data", "n.1"), row("data", "n.2"))
    post = obj(row("code", "f", b"b", "n.1", "n.2"), row("data", "n.1"), row("data", "n.2"))
    assert paired(pre, post) == ({"f": "f"}, {"n.1", "n.2"})


@pytest.mark.parametrize("kind", ["constant", "code"])
def test_constants_and_code_that_cannot_be_told_apart_pair_in_order(kind: str) -> None:
    pre = obj(row("data", "p", b"", "n.1", "n.2"), row(kind, "n.1"), row(kind, "n.2"))
    post = obj(row("data", "p", b"x", "n.3", "n.4"), row(kind, "n.3"), row(kind, "n.4"))
    assert paired(pre, post) == ({"p": "p", "n.3": "n.1", "n.4": "n.2"}, set())


def test_code_with_the_same_number_is_the_same() -> None:
    pre = obj(row("code", "f.1", b"a"), row("code", "f.2", b"b"), row("code", "f.3", b"c"))
    post = obj(row("code", "f.2", b"d"), row("code", "f.3", b"e"), row("code", "f.4", b"g"))
    assert paired(pre, post)[0] == {"f.2": "f.2", "f.3": "f.3", "f.4": "f.1"}


def test_what_is_left_pairs_by_the_places_that_equal_code_refers_to() -> None:
    pre = obj(row("code", "f", b"same", "n.1", "n.2"), row("data", "n.1"), row("data", "n.2"))
    post = obj(row("code", "f", b"same", "n.2", "n.1"), row("data", "n.1"), row("data", "n.2"))
    assert paired(pre, post) == ({"f": "f", "n.2": "n.1", "n.1": "n.2"}, set())
    # code that says two things says nothing
    twice = obj(row("code", "f", b"same", "n.1", "n.2", "n.1"), row("data", "n.1"), row("data", "n.2"))
    other = obj(row("code", "f", b"same", "n.1", "n.2", "n.2"), row("data", "n.1"), row("data", "n.2"))
    assert paired(twice, other) == ({"f": "f", "n.1": "n.1"}, {"n.2"})
    assert (
        paired(
            obj(
                row("code", "f", b"same", "n.1", "n.1"),
                row("data", "n.1"),
                row("data", "n.2"),
                row("code", "g", b"", "n.2"),
            ),
            post,
        )[0].get("n.1")
        != "n.2"
    )


def test_names_that_stand_more_than_once_pair_in_order() -> None:
    def several(*data: bytes) -> AtomObject:
        sections = [NewSection(".init_array", A | W, d, 8, SectionType.INIT_ARRAY) for d in data]
        return AtomObject(ElfFile(write_object(sections, [])))

    pairs = pair_atoms(several(b"1" * 8, b"2" * 8), several(b"2" * 8, b"3" * 8, b"4" * 8))
    assert pairs.pre_of == {1: 1, 2: 2}


def test_merged_constants_have_no_pair() -> None:
    merged = AtomObject(
        ElfFile(write_object([NewSection(".rodata.str1.1", A | SectionFlag.MERGE | SectionFlag.STRINGS, b"ab\0")], []))
    )
    assert pair_atoms(merged, merged).pre_of == {}


def test_an_unnamed_pool_pairs_with_its_like_and_not_with_a_named_constant() -> None:
    pool = NewSection(".rodata", A, b"12345678")
    plain = AtomObject(ElfFile(write_object([pool], [])))
    assert pair_atoms(plain, plain).pre_of == {1: 1}
    constant = obj(row("constant", "x"))
    assert pair_atoms(plain, constant).pre_of == {}


def test_one_that_is_left_of_several_pairs_with_its_like() -> None:
    pre = obj(row("code", "f", b"", "n.1"), row("code", "g", b"", "n.2"), row("data", "n.1"), row("data", "n.2"))
    post = obj(row("code", "f"), row("code", "g", b"", "n.1"), row("data", "n.1"))
    assert paired(pre, post) == ({"f": "f", "g": "g", "n.1": "n.2"}, set())


def test_places_that_lead_to_one_variable_from_two_say_nothing() -> None:
    pre = obj(
        row("code", "f", b"a", "n.1"),
        row("code", "g", b"b", "n.1"),
        row("code", "h", b"c", "n.2"),
        row("data", "n.1"),
        row("data", "n.2"),
    )
    post = obj(
        row("code", "f", b"a", "n.1"),
        row("code", "g", b"b", "n.2"),
        row("code", "h", b"c"),
        row("data", "n.1"),
        row("data", "n.2"),
    )
    assert paired(pre, post) == ({"f": "f", "g": "g", "h": "h"}, {"n.1", "n.2"})
