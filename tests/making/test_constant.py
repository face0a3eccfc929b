"""Strings, tables, switch tables, line numbers, initial values."""

from __future__ import annotations

from typing import Any

import pytest

STRINGS = """
#include <string.h>
static const char *pick(long x) { return x == 0 ? "alpha" : x == 1 ? "beta" : "gamma ray"; }
long size(long x) { return strlen(pick(x)); }
long letter(long x) { const char *volatile s = "delta"; return s[x]; }
"""


@pytest.mark.parametrize("shape", ["library", "pie", "fixed"])
def test_an_added_string_that_shifts_all_others_changes_only_its_function(package: Any, shape: str) -> None:
    made = package(STRINGS, ('x == 0 ? "alpha"', 'x == 0 ? "aardvark, a new one"'), "size letter", shape)
    patch = made.patch()
    assert {f.name for f in patch.manifest.functions} == {"size"}
    target = made.start()
    assert target.ask("size") == 5
    target.apply(patch)
    assert [target.ask("size", n) for n in range(3)] == [19, 4, 9]
    assert target.ask("letter", 2) == ord("l")


SWITCHES = """
#include <stdlib.h>
static long n;
long left(long x) { switch (x) { case 0: n++; return n; case 1: return abs(-4); case 2: return x * 3; case 3: n += 2;
    return 8 - n;
  case 4: return 15; case 5: return x ^ n; } return -1; }
long right(long x) { switch (x) { case 0: n--; return 7; case 1: return abs(-5); case 2: return x * 4; case 3: n = 0;
    return 9;
  case 4: return 25; case 5: return x & n; } return -2; }
long last(long x) { switch (x) { case 0: n -= 7; return 17; case 1: return abs(-6); case 2: return x * 5;
    case 3: n = 1; return 19;
  case 4: return 35; case 5: return x | n; } return -3; }
"""


@pytest.mark.parametrize("shape", ["library", "fixed"])
def test_a_switch_table_that_moves_in_its_section_is_no_change_and_the_new_function_has_its_own(
    package: Any, shape: str
) -> None:
    fixed = SWITCHES.replace(
        "case 5: return x ^ n;",
        "case 5: return x ^ n; case 6: return 66; case 7: n = 4; return 3; case 8: return abs(-8);",
    )
    made = package(SWITCHES, fixed, "left right last", shape)
    patch = made.patch()
    assert {f.name for f in patch.manifest.functions} == {"left"}
    target = made.start()
    target.apply(patch)
    assert [target.ask("left", x) for x in range(10)] == [1, 4, 6, 5, 15, 6, 66, 3, 8, -1]
    assert [target.ask("right", x) for x in (1, 2, 4)] == [5, 8, 25]
    assert target.ask("last", 4) == 35


def test_functions_with_switch_tables_in_one_section_stay_independent(package: Any) -> None:
    fixed = SWITCHES.replace("return 15", "return 16").replace("return 35", "return 36")
    made = package(SWITCHES, fixed, "left right last")
    made.request = {"apart": ("the functions have nothing to do with one another",)}
    patch = made.patch()
    assert [[f.name for f in g.functions] for g in patch.manifest.groups] == [["last"], ["left"]]


LINES = """
#include <assert.h>
#include <stdio.h>
long untouched(long x) { assert(x < 1000); return x; }
long where(long x) { return __LINE__ * x; }
long touched(long x) { return x + 1; }
"""


def test_moved_lines_and_assertions_change_nothing_but_the_fix(package: Any) -> None:
    fixed = "/* new */\n\n\n" + LINES.replace("return x + 1", "return x + 2")
    patch = package(LINES, fixed, "untouched where touched").patch()
    assert {f.name for f in patch.manifest.functions} == {"touched"}


def test_a_changed_initial_value_is_refused_and_what_else_changed_goes_in(package: Any) -> None:
    source = "long limit = 10;\nlong f(long x) { return x > limit; }\nlong g(long x) { return x + 1; }\n"
    fixed = "long limit = 20;\nlong f(long x) { return x >= limit; }\nlong g(long x) { return x + 2; }\n"
    made = package(source, fixed, "f g")
    built = made.build()
    assert built.manifest is not None and not built.manifest.verdict.safe
    assert {f.name for f in built.manifest.functions} == {"g"}
    assert {r.function for r in built.refused} == {"f", "limit"}
    assert all("initial value" in r.reason and r.remedy for r in built.refused)


def test_a_changed_initial_value_alone_makes_no_patch(package: Any) -> None:
    built = package("long limit = 10;\nlong f(long x) { return x > limit; }\n", ("10", "20"), "f").build()
    assert built.data is None and [r.function for r in built.refused] == ["limit"]


TABLE = """
#include <string.h>
static const long table[] = {1, 2, 3, 5, 8, 13};
static const char *const names[] = {"a", "bb", "ccc"};
long look(long x) { return table[x]; }
long both(long x) { return table[x] * 2; }
long size(long x) { return strlen(names[x]); }
"""


def test_a_changed_constant_table_changes_all_its_readers_together(package: Any) -> None:
    made = package(TABLE, TABLE.replace("5, 8", "50, 80").replace('"bb"', '"bbbbb"'), "look both size")
    made.request = {"apart": ("the functions have nothing to do with one another",)}
    patch = made.patch()
    assert sorted(sorted(f.name for f in g.functions) for g in patch.manifest.groups) == [["both", "look"], ["size"]]
    assert not any("constant table" in n for n in patch.manifest.verdict.notes), "all code reads the table where it is"
    target = made.start()
    target.apply(patch)
    assert [target.ask("look", 3), target.ask("both", 4), target.ask("look", 1), target.ask("size", 1)] == [
        50,
        160,
        2,
        5,
    ]


def test_a_changed_constant_that_other_units_refer_to_is_refused(package: Any) -> None:
    files = {
        "a.c": "const long shared[] = {1, 2, 3};\nlong f(long x) { return shared[x]; }\n",
        "b.c": "extern const long shared[];\nlong g(long x) { return shared[x] * 2; }\n",
    }
    refused = package(files, ("2, 3", "2, 4"), "f g").refused()
    assert "shared" in {r.function for r in refused}


OPS = """
struct ops { const char *name; long (*run)(long); };
static long hidden(long x) { return x * 3; }
static const struct ops known[] = {{"hidden", hidden}, {"other", 0}};
const struct ops *volatile current = known;
long call(long x) { return current->run(x); }
long same(long x) { return (current->run == known[0].run) + x; }
"""


def test_a_function_reached_only_through_a_table_runs_the_new_code_and_keeps_its_identity(package: Any) -> None:
    fixed = OPS.replace("x * 3", "x * 4").replace(") + x;", ") * 5 + x;")
    made = package(OPS, fixed, "call same")
    patch = made.patch()
    target = made.start()
    assert target.ask("call", 5) == 15 and target.ask("same", 0) == 1
    target.apply(patch)
    assert target.ask("call", 5) == 20 and target.ask("same", 0) == 5


LOCAL_ARRAYS = """
#include <string.h>
__attribute__((noinline)) static long use(const char **words, long x) { return strlen(words[x]); }
long a(long x) { const char *w[] = {"a", "bb", "ccc", "dddd"}; return use(w, x); }
long b(long x) { const char *w[] = {"eeeee", "ffffff", "ggggggg", "hhhhhhhh"}; return use(w, x); }
"""


@pytest.mark.parametrize("shape", ["library", "fixed"])
def test_the_images_of_local_arrays_are_the_new_functions_own(package: Any, shape: str) -> None:
    fixed = LOCAL_ARRAYS.replace(
        "long a(", 'long z(long x) { const char *w[] = {"1", "2", "3", "4", "5", "6"}; return use(w, x); }\nlong a('
    )
    made = package(LOCAL_ARRAYS, fixed.replace("return use(w, x); }\n", "return use(w, x) + 10; }\n"), "a b", shape)
    patch = made.patch()
    target = made.start()
    target.apply(patch)
    assert [target.ask("b", n) for n in range(4)] == [15, 16, 17, 18]
    assert [target.ask("a", n) for n in range(4)] == [11, 12, 13, 14]


POINTED = """
#include <stdio.h>
#include <string.h>
static const char *form = "hello from the %s library";
const char *names[] = {"first", "second"};
static char out[99];
__attribute__((noinline)) static long use(const void *p, long n) { return ((const char *)p)[n]; }
long hello(long n) { sprintf(out, form, "older"); return strlen(out) + n; }
long size(long n) { return strlen(names[n]); }
long list(long n) { return use("a\\0b\\0", n); }
long other(long n) { return use("c\\0d\\0", n); }
long image(long n) { long a[] = {1, 2, 3, 4, 5, 6, 7, 8, 9}; return use(a, 8 * n); }
long behind(long n) { long a[] = {11, 12, 13, 14, 15, 16, 17, 18, 19}; return use(a, 8 * n); }
"""


@pytest.mark.parametrize("level", ["-O0", "-O2"])
@pytest.mark.parametrize(
    ("fix", "changed"),
    [
        (('"older"', '"new"'), {"hello"}),
        (('"c\\0d\\0"', '"cc\\0dd\\0"'), {"other"}),
        (("11, 12", "21, 22"), {"behind"}),
        (('"a\\0b\\0"', '"a\\0b"'), {"list"}),
    ],
    ids=["string", "list-behind", "array-behind", "list-shortened"],
)
def test_a_constant_that_stands_beside_a_changed_one_is_the_same(
    package: Any, level: str, fix: tuple[str, str], changed: set[str]
) -> None:
    calls = "hello size list other image behind"
    made = package(POINTED, fix, calls, cflags=(level,))
    patch = made.patch()
    assert {f.name for f in patch.manifest.functions} == changed
    target = made.start()
    before = {c: target.ask(c, 1) for c in calls.split()}
    target.apply(patch)
    differ = {c for c in before if target.ask(c, 1) != before[c]}
    assert differ == changed - {"list"}  # whose last byte nothing here reads


@pytest.mark.parametrize("level", ["-O0", "-O2"])
def test_a_pointer_to_a_string_that_changed_is_a_changed_initial_value(package: Any, level: str) -> None:
    refused = package(POINTED, ('"second"', '"another"'), "hello size", cflags=(level,)).refused()
    assert "names" in {r.function for r in refused}


KEPT = """
struct ops { long (*first)(long); long (*second)(long); };
static long one(long x) { return x + 1; }
static long two(long x) { return x + 2; }
static long three(long x) { return x + 3; }
static const struct ops table = {one, two};
static const struct ops *volatile current;
__attribute__((noipa)) static void set(const struct ops *it) { current = it; }
long pick(long x) { %s; return x; }
long call(long x) { return current->second(x); }
long touch(long x) { return three(x) + 1; }
"""


@pytest.mark.parametrize("level", ["-O0", "-O2"])
@pytest.mark.parametrize("shape", ["library", "fixed"])
@pytest.mark.parametrize("how", ["current = &table", "set(&table)", "current = &table + (x > 9)"])
def test_a_changed_table_of_functions_whose_address_may_be_kept_is_refused(
    package: Any, how: str, shape: str, level: str
) -> None:
    source = KEPT.replace("%s", how)
    fixed = source.replace("{one, two}", "{one, three}").replace("three(x) + 1", "three(x) + 2")
    built = package(source, fixed, "pick call touch", shape, cflags=(level,)).build()
    assert {r.function for r in built.refused} == {"pick", "table"}
    assert all("the constant table" in r.reason and r.remedy for r in built.refused)
    assert built.manifest is not None and not built.manifest.verdict.safe
    assert {f.name for f in built.manifest.functions} == {"touch"}


NUMBERS = """
extern int printf(const char *, ...);
static const int table[] = {1, 2, 3, 4};
static const int *volatile current;
__attribute__((noipa)) static long at(const int *from, long x) { return from[x & 3]; }
long pick(long x) { %s; return x; }
long call(long x) { return current ? current[x & 3] : -1; }
"""


@pytest.mark.parametrize(
    ("how", "goes"), [("current = table", False), ("x = at(table, x)", True), ("x = table[x & 3]", True)]
)
def test_a_changed_table_of_numbers_is_refused_where_its_address_was_stored(package: Any, how: str, goes: bool) -> None:
    """What is only passed goes in with a note, what is only read without one."""
    source = NUMBERS.replace("%s", how)
    built = package(source, source.replace("3, 4}", "3, 40}"), "pick call").build()
    assert (built.data is not None) is goes
    if goes:
        assert built.manifest is not None
        notes = [n for n in built.manifest.verdict.notes if "the constant table" in n]
        assert len(notes) == ("at(" in how)
    else:
        assert any(r.function == "table" and "has stored" in r.reason for r in built.refused)


READ = """
struct ops { long code; long (*run)(long); };
static long one(long x) { return x + 1; }
static long two(long x) { return x + 2; }
static long three(long x) { return x + 3; }
static const struct ops table[] = {{1, one}, {2, two}, {3, three}};
long find(long x) {
  for (int n = 0; n < 3; n++)
    if (table[n].code == x) return table[n].run(x);
  return -1;
}
long last(long x) { return table[2].run(x); }
"""


@pytest.mark.parametrize("shape", ["library", "pie", "fixed"])
def test_a_changed_table_of_functions_that_is_only_read_goes_in(package: Any, shape: str) -> None:
    made = package(READ, READ.replace("{2, two}", "{2, three}"), "find last", shape)
    target = made.start()
    assert target.ask("find", 2) == 4
    target.apply(made.patch())
    assert [target.ask("find", 2), target.ask("last", 3)] == [5, 6]
