"""Which variables one compile of a unit has and another has not; each case is compiled with gcc."""

from __future__ import annotations

from suture.delta import storage
from suture.delta.atom import AtomObject
from suture.delta.compare import Difference, difference
from suture.delta.storage import declared_without, folded, is_of_gcc, is_suspect, unstored, with_storage
from suture.elf.file import ElfFile
from tests.delta.compiled import object_of, unit

KEPT = "-fno-ipa-reference-addressable"
WRITES = "static int v = 3, w; int put(int x) { v = x; w = v; return x; } int get(void) { return v + w; }\n"
FOLDS = WRITES.replace("v = x; w = v;", "")
REMOVES = "static int w; int put(int x) { w = x; return x; } int get(void) { return w; }\n"


def test_a_variable_that_nothing_writes_is_folded_and_one_that_is_gone_is_not() -> None:
    pre = unit(WRITES)
    assert folded(pre, unit(FOLDS), unit(FOLDS, KEPT)) == {"v", "w"}
    assert folded(pre, unit(REMOVES), unit(REMOVES, KEPT)) == frozenset()


def test_a_table_that_moves_to_constants_is_folded_too() -> None:
    table = "static int t[3] = {1, 2, 3}; int put(int x) { t[x] = x; return x; } int get(int x) { return t[x]; }\n"
    fixed = table.replace("t[x] = x;", "")
    assert folded(unit(table), unit(fixed), unit(fixed, KEPT)) == {"t"}


def test_what_needs_no_second_look() -> None:
    pre, other = unit(WRITES), unit(WRITES.replace("v + w", "v * w"))
    assert not is_suspect(pre, other, difference(pre, other).changed)
    local = "int f(int x) { static int n; n += x; return n; } int g(int x) { return x; }\n"
    pre, near, far = (
        unit(local),
        unit(local.replace("return n;", "return n + 1;")),
        unit(local.replace("return x;", "return 2;")),
    )
    assert is_suspect(pre, near, difference(pre, near).changed)
    assert not is_suspect(pre, far, difference(pre, far).changed)
    pre, post = unit(WRITES), unit(FOLDS)
    assert is_suspect(pre, post, frozenset()) and is_suspect(post, pre, frozenset())


def test_stores_that_nothing_reads_are_left_out_and_values_that_nothing_writes_are_not() -> None:
    dropped = "static int ready; int put(int x) { ready = x; return x; } int get(void) { return 1; }\n"
    reads = dropped.replace("return 1", "return ready")
    assert unstored(unit(dropped), unit(dropped, KEPT), unit(reads)) == {"ready"}
    constant = (
        "static int level = 3, t[2] = {4, 5}; int put(int x) { return x; } int get(int x) { return level + t[x]; }\n"
    )
    writes = constant.replace("{ return x; }", "{ level = x; t[1] = x; return x; }")
    assert unstored(unit(constant), unit(constant, KEPT), unit(writes)) == frozenset()


def test_what_debug_information_declares_without_a_place() -> None:
    pre, post = unit(WRITES, "-g"), unit(FOLDS, "-g")
    assert declared_without(pre, post) == {"v", "w"}
    assert declared_without(pre, unit(REMOVES, "-g")) == frozenset()
    assert is_of_gcc(post) and not is_of_gcc(unit(FOLDS, "-g0"))


def test_a_function_that_is_the_same_in_both_ways_to_compile_is_not_changed() -> None:
    def of(*changed: str, new: str = "") -> Difference:
        return Difference(frozenset(changed), frozenset(new.split()), frozenset(), frozenset(), frozenset())

    assert with_storage(of("get", "put"), of("put"), of("put", "noise")) == of("put")
    assert with_storage(of("put"), of("put", "new"), of("new", "put")) == of("new", "put")
    assert with_storage(of("put"), of("put"), of("put", "noise", new="clone")) == of("put", "noise", new="clone")


def test_what_another_compiler_made_is_not_of_gcc() -> None:
    data = object_of(FOLDS, "-g")
    assert is_of_gcc(AtomObject(ElfFile(data))) and b"GNU C" in data
    assert not is_of_gcc(AtomObject(ElfFile(data.replace(b"GNU C", b"FOO C"))))
    # a producer that is no text (its form is one of a number) says nothing
    assert not is_of_gcc(unit('.section .text.f,"ax"\nf: ret\n', suffix=".s"))


WRITERS = """
extern void take(int *); static int given, stored, compared, loaded, summed;
void give(void) { take(&given); }
void store(int x) { stored = x; compared = compared; }
int look(int x) { return (compared == x) + stored; }
int load(void) { return loaded; }
int sum(int x) { return x + summed; }
"""


def test_a_variable_is_written_by_code_that_stores_and_by_whoever_has_its_address() -> None:
    obj = unit(WRITERS, KEPT)
    written = {a.label: storage._is_written(obj, a) for a in storage._variables(obj)}
    assert {n for n, is_written in written.items() if is_written} == {"given", "stored"}
    assert {"compared", "loaded", "summed"} <= written.keys()
