"""Which of two differences counts, and what a comparison sees."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from suture.delta.atom import AtomKind, AtomObject
from suture.delta.compare import Difference, difference, reconciled
from suture.delta.correlation import pair_atoms
from suture.elf.file import ElfFile
from tests.delta.compiled import unit

NONE: frozenset[str] = frozenset()


def compiled(folder: Path, text: str, *flags: str) -> AtomObject:
    folder.mkdir(exist_ok=True)
    (folder / "a.c").write_text(text)
    subprocess.run(
        ["gcc", "-O2", "-ffunction-sections", "-fdata-sections", *flags, "-c", "a.c", "-o", "a.o"],
        check=True,
        cwd=folder,
    )
    return AtomObject(ElfFile.read(folder / "a.o"))


def test_noise_is_left_out_when_the_names_agree() -> None:
    quiet = Difference(frozenset({"f"}), NONE, NONE, NONE, NONE)
    full = Difference(frozenset({"f", "g"}), NONE, NONE, NONE, NONE)
    assert reconciled(quiet, full) is quiet


@pytest.mark.parametrize("field", ["changed", "new", "gone", "changed_variables", "changed_constants"])
def test_a_name_that_the_patched_objects_do_not_have_makes_theirs_count(field: str) -> None:
    quiet = Difference(**{**dict.fromkeys(Difference.__dataclass_fields__, NONE), field: frozenset({"f.constprop.0"})})
    full = Difference(frozenset({"f", "g"}), NONE, NONE, NONE, NONE)
    assert reconciled(quiet, full) is full


@pytest.mark.parametrize("pic", ["-fPIC", "-fno-pie"])
def test_a_changed_string_behind_a_constant_with_an_address_is_a_change(tmp_path: Path, pic: str) -> None:
    text = """
void use(const char **);
void f(void) { const char *w[] = {"eeeee", "ffffff", "ggggggg", "hhhhhhhh"}; use(w); }
"""
    pre, post = (
        compiled(tmp_path / "pre", text, pic),
        compiled(tmp_path / "post", text.replace("ffffff", "FFFFFF"), pic),
    )
    assert difference(pre, post).changed == {"f"}
    assert difference(pre, compiled(tmp_path / "same", "\n" + text, pic)).is_empty


def test_a_call_of_a_local_function_is_told_from_its_address(tmp_path: Path) -> None:
    obj = compiled(
        tmp_path / "a",
        '__attribute__((noinline)) static long l(long x) { __asm__(""); return x * 3; }\nlong (*volatile p)(long);\n'
        "long f(long x) { p = l; return l(x) + 1; }\n",
        "-fPIC",
    )
    code = obj.functions["f"].hot
    refs = [r for r in code.references if r.section == obj.functions["l"].hot.index]
    assert sorted(code.is_branch(r) for r in refs) == [False, True]
    listing = subprocess.run(
        ["objdump", "-drw", str(tmp_path / "a" / "a.o")], check=True, capture_output=True, text=True
    ).stdout
    assert (
        sum(
            ("call" in line and ".text.l" in line) or ("call" in line and "\tl-" in line)
            for line in listing.splitlines()
        )
        == 1
    )


def test_static_locals_of_different_functions_never_pair(tmp_path: Path) -> None:
    pre = compiled(
        tmp_path / "pre", "long f(long x) { static long n = 1; return n += x; }\nlong g(long x) { return x; }\n"
    )
    post = compiled(
        tmp_path / "post", "long f(long x) { return x; }\nlong g(long x) { static long n = 1; return n += x; }\n"
    )
    pairs = pair_atoms(pre, post)
    new = next(a for a in post.atoms.values() if a.kind is AtomKind.DATA)
    assert new.index not in pairs.pre_of and new.index in pairs.ambiguous


def test_static_locals_of_one_name_pair_by_the_place_that_unchanged_code_has_for_them(tmp_path: Path) -> None:
    twice = (
        "long f(long x) { if (x > 5) { static long n; n += x; } if (x > 9) { static long n; n -= x * 3; } return x; }\n"
    )
    pre = compiled(tmp_path / "pre", twice + "long g(long x) { return x; }\n")
    post = compiled(tmp_path / "post", twice + "long g(long x) { return x + 1; }\n")
    pairs = pair_atoms(pre, post)
    state = [a.index for a in post.atoms.values() if a.kind is AtomKind.BSS]
    assert len(state) == 2 and not pairs.ambiguous
    assert [pre.atoms[pairs.pre_of[i]].label for i in state] == [post.atoms[i].label for i in state]
    changed = compiled(tmp_path / "changed", twice.replace("* 3", "* 5") + "long g(long x) { return x; }\n")
    state = [a.index for a in changed.atoms.values() if a.kind is AtomKind.BSS]
    assert pair_atoms(pre, changed).ambiguous == set(state)


DATA = """
static int state = 3, zeroed; int shown = 5; static const int table[2] = {1, 2};
    const char *const names[] = {"one", "two"};
__thread int local = 1; struct pair { int *a; long b; }; struct pair both = {&shown, 4};
int f(int x) { state += x; zeroed = x; return table[x & 1] + state + local; }
"""


@pytest.mark.parametrize(
    ("edit", "variables", "constants"),
    [
        (("state = 3", "state = 4"), {"state"}, set()),
        (("state = 4", "state = 3"), {"state"}, set()),
        (("shown = 5", "shown"), {"shown"}, set()),
        (("int shown = 5", "long shown = 5"), {"shown"}, set()),
        (("local = 1", "local = 2"), {"local"}, set()),
        (("{1, 2}", "{1, 3}"), set(), {"table"}),
        (('"two"', '"tow"'), set(), {"names"}),
        (("&shown, 4", "&shown, 5"), {"both"}, set()),
        (("&shown, 4", "&shown + 1, 4"), {"both"}, set()),
        (("&shown, 4", "0, 4"), {"both"}, set()),
    ],
)
def test_data_that_differ_are_named_by_what_they_are(
    edit: tuple[str, str], variables: set[str], constants: set[str]
) -> None:
    base = DATA if edit[0] in DATA else DATA.replace(edit[1], edit[0])
    found = difference(unit(base), unit(base.replace(*edit)))
    assert (found.changed_variables, found.changed_constants) == (variables, constants)


def test_functions_that_differ_are_new_or_gone() -> None:
    base = (
        '__attribute__((noinline)) static int a(int x) { __asm__(""); return x; } int f(int x) { return a(x) + 1; } '
        "int g(int x) { return x; }"
    )
    found = difference(unit(base), unit(base.replace("a(x) + 1", "b(x) + 1").replace("int a(", "int b(")))
    assert (found.changed, found.new, found.gone) == ({"f"}, {"b"}, {"a"})
    assert not found.is_empty and difference(unit(base), unit(base)).is_empty
    assert difference(
        unit(base), unit(base.replace("int g(int x) { return x; }", ""))
    ).is_empty  # what is gone alone is no work


def test_what_a_reference_means_counts_and_not_where_it_is() -> None:
    base = (
        "extern int o(int), p(int); static int table[4] = {1}; int f(int x) { return o(x) + 1; } int g(void) { "
        "return (long)&table[1]; } void w(void) { table[0]++; }"
    )
    assert difference(unit(base), unit(base.replace("o(x)", "p(x)"))).changed == {"f"}
    assert difference(unit(base), unit(base.replace("&table[1]", "&table[2]"))).changed == {"g"}
    moved = base.replace("int f(", "int z(int x) { return p(x); } int f(")
    assert difference(unit(base), unit(moved)).changed == frozenset()


SWITCH = (
    "extern int o(int); int f(int x) { switch (x) { case 0: return o(1); case 1: return o(5); case 2: return o(3); "
    "case 3: return o(9); case 4: return o(8); case 5: return o(7); } return x; }"
)


@pytest.mark.parametrize("pic", ["-fPIC", "-fno-pic"])
def test_a_switch_table_belongs_to_its_function(pic: str) -> None:
    before = unit(SWITCH, pic, "-fno-pie")
    other = SWITCH.replace(
        "int f(",
        "int e(int y) { switch (y) { case 0: return o(11); case 1: return o(15); case 2: return o(13); case 3: "
        "return o(19); case 4: return o(18); case 5: return o(17); } return y; } int f(",
    )
    assert difference(before, unit(other, pic, "-fno-pie")).changed == frozenset()
    swapped = SWITCH.replace("case 0", "case 9").replace("case 1", "case 0").replace("case 9", "case 1")
    assert difference(before, unit(swapped, pic, "-fno-pie")).changed == {"f"}


def test_strings_are_compared_by_contents() -> None:
    base = 'extern void use(const char *); void f(void) { use("some text"); } void g(void) { use("other"); }'
    assert difference(unit(base), unit(base.replace("some", "Some"))).changed == {"f"}
    assert (
        difference(unit(base), unit(base.replace("void f(", 'void e(void) { use("first of all"); } void f('))).changed
        == frozenset()
    )
    doubles = "double f(double d) { return d * 1.5; } double g(double d) { return d * 2.5; }"
    assert difference(unit(doubles), unit(doubles.replace("2.5", "3.5"))).changed == {"g"}


def test_a_reference_counts_by_where_it_leads_and_not_by_the_name_that_it_goes_by() -> None:
    """Two names of one section; the field of the absolute address of its ninth byte."""
    text = """
    .globl first, second, f
    .section .data.both,"aw"
    first: .long 1
    second: .long 2
    .quad 3
    .section .text.f,"ax"
    .type f,@function
    f: mov $WHERE, %edi
    ret
    .size f,.-f
    """
    pre = unit(text.replace("WHERE", "second + 4"), suffix=".s")
    assert difference(pre, unit(text.replace("WHERE", "first + 8"), suffix=".s")).changed == frozenset()
    for other in ("first + 4", "second", "first", "second + 8"):
        assert difference(pre, unit(text.replace("WHERE", other), suffix=".s")).changed == {"f"}


def test_a_switch_table_that_moves_in_a_section_of_several_is_the_same() -> None:
    flags = ("-fno-data-sections", "-fPIC")
    other = SWITCH.replace(
        "int f(",
        "int e(int y) { switch (y) { case 0: return o(11); case 1: return o(15); case 2: return o(13); case 3: "
        "return o(19); case 4: return o(18); case 5: return o(17); case 6: return o(1); } return y; } int f(",
    )
    assert difference(unit(SWITCH, *flags), unit(other, *flags)).changed == frozenset()
    swapped = other.replace("case 0: return o(1)", "case 1: return o(1)").replace(
        "case 1: return o(5)", "case 0: return o(5)"
    )
    assert swapped != other and difference(unit(SWITCH, *flags), unit(swapped, *flags)).changed == {"f"}


def test_a_name_of_a_variable_that_becomes_one_of_a_function_is_a_new_function() -> None:
    variable, function = (
        unit("int f = 5; int g(void) { return 1; }"),
        unit("int f(void) { return 5; } int g(void) { return 1; }"),
    )
    found = difference(variable, function)
    assert (found.changed, found.new, found.gone) == (set(), {"f"}, set())
    found = difference(function, variable)
    assert (found.changed, found.new, found.gone) == (set(), set(), {"f"})
