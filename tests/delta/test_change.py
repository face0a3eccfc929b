"""Where the running counterpart of an atom is, and what is copied into a patch."""

from __future__ import annotations

from dataclasses import replace

from suture.delta.change import UnitChange
from suture.match.book import Book
from suture.match.linker_edit import Kind
from suture.match.match import MatchedFunction
from suture.number import Vaddr
from tests.delta.compiled import STEP, changed

N = "__attribute__((noinline)) "
PRE = f"""
extern int outside(int);
static int state; int shown = 5; static const int table[4] = {{1, 2, 3, 4}}; const int open_table[4] = {{4, 3, 2, 1}};
{N}static int helper(int x) {{ __asm__(""); return x * 3 + state; }}
int f(int x) {{ state = x; return helper(x) + table[x & 3] + open_table[x & 3] + shown; }}
int g(int x) {{ return outside(x); }}
"""
POST = (
    PRE.replace("x * 3", "x * 5")
    .replace("3, 4}", "3, 9}")
    .replace("static int state", "static int fresh; static int state")
)
POST = POST.replace("return outside", "fresh += x; return outside") + f"{N}int made(int x) {{ return x; }}\n"


def labels(change: UnitChange, copied: bool) -> set[str]:
    return {a.label for a in change.post.atoms.values() if change.is_copied(a) is copied and a.kind.value != "code"}


def test_the_counterpart_is_found_by_its_section_or_by_its_name() -> None:
    change = changed(PRE, POST)
    for atom in change.post.atoms.values():
        old = change.pairs.pre_of.get(atom.index)
        assert change.address_of(atom) == (None if old is None else STEP * old)
    state = next(a for a in change.post.atoms.values() if a.label == "state")
    book = Book("a.c")
    book.add(Kind.ADDRESS, "state", 0x7770, "its name")
    named = replace(change, match=replace(change.match, book=book))
    assert named.address_of(state) == 0x7770
    assert named.address_of(change.post.functions["helper"].hot) is None
    match = replace(change.match, book=book, functions={"helper": MatchedFunction("helper", Vaddr(0x8880), 24)})
    placed = replace(change, match=match)
    assert placed.address_of(change.post.functions["helper"].hot) == 0x8880
    assert (placed.size_in_run("helper"), placed.size_in_run("f")) == (24, None)


def test_a_symbol_inside_a_section_tells_where_the_section_is() -> None:
    text = (
        '.section .data.two,"aw"\n.type first, @object\nfirst: .quad 1\n.size first, 8\n.type second, @object\n'
        "second: .quad 2\n.size second, 8\n"
    )
    change = changed(text, text, suffix=".s")
    (atom,) = (a for a in change.pre.atoms.values() if a.kind.value == "variable")
    book = Book("a.c")
    book.add(Kind.ADDRESS, "second", 0x7008, "its name")
    assert replace(change, match=replace(change.match, book=book)).address_of_pre(atom) == 0x7000
    assert replace(change, match=replace(change.match, book=Book("a.c"))).address_of_pre(atom) is None


def test_a_pad_before_a_function_is_none_of_it() -> None:
    change = changed(PRE, POST, "-fpatchable-function-entry=5,3")
    hot = change.pre.functions["f"].hot
    assert change.address_of_pre(hot) == STEP * hot.index + 3


def test_functions_that_differ_and_functions_that_are_new() -> None:
    change = changed(PRE, POST)
    assert change.replaced == {"helper", "f", "g"}
    assert change.new == {"made"}
    assert changed(PRE, PRE).replaced == changed(PRE, PRE).new == frozenset()


def test_new_variables_and_changed_constants_are_copied_and_others_are_not() -> None:
    change = changed(PRE, POST)
    assert labels(change, True) == {"fresh", "table"}
    assert labels(change, False) == {"state", "shown", "open_table"}
    # a local constant whose place is not known may be copied, a global one may not
    assert labels(changed(PRE, PRE, unproved=("table", "open_table", "state")), True) == {"table"}
    assert labels(changed(PRE, PRE), True) == set()


def test_strings_and_pools_are_copied() -> None:
    text = 'extern void use(const char *, double); void f(int x) { use("some string", x ? 1.5 : 2.5); }'
    change = changed(text, text)
    merged = {a.label for a in change.post.atoms.values() if a.kind.value == "merged constants"}
    assert merged and merged <= labels(change, True)
    switch = (
        "int f(int x) { switch (x) { case 0: return g(3); case 1: return h(1); case 2: return g(77); case 3: return "
        "h(9); case 4: return g(5); case 5: return h(2); } return 0; }"
    )
    change = changed(switch, switch)
    pools = [a for a in change.post.atoms.values() if a.is_pool]
    assert pools and all(change.is_copied(a) for a in pools)


LABELS = (
    f"{N}int f(int x) {{ static void *const at[2] = {{&&a, &&b}}; goto *at[x]; a: return x + 1; b: return x * 7; }} "
    f"int g(int x) {{ return x; }}"
)


def test_a_table_of_labels_of_a_changed_function_is_copied() -> None:
    change = changed(LABELS, LABELS.replace("x + 1", "x + 2"))
    (table,) = (a for a in change.post.atoms.values() if a.label.startswith("at"))
    assert change.leads_inside(table) and change.is_copied(table)
    same = changed(LABELS, LABELS.replace("g(int x) { return x", "g(int x) { return x + 1"))
    (table,) = (a for a in same.post.atoms.values() if a.label.startswith("at"))
    assert not same.leads_inside(table) and not same.is_copied(table)


def test_a_type_is_told_by_its_name_where_others_may_have_it_too() -> None:
    text = "struct A { virtual ~A(); }; A::~A() {} namespace { struct B : A { int x; }; } A *make() { return new B; }"
    change = changed(
        text,
        text,
        "-x",
        "c++",
        suffix=".cc",
        unproved=("_ZTI1A", "_ZTS1A", "_ZTIN12_GLOBAL__N_11BE", "_ZTSN12_GLOBAL__N_11BE"),
    )
    copied = labels(change, True)
    assert {"_ZTI1A", "_ZTS1A"} <= copied
    assert not {n for n in copied if "GLOBAL" in n and n.startswith("_ZT") and n[:4] in ("_ZTI", "_ZTS")}
