"""What a unit changes beside functions and data."""

from __future__ import annotations

import pytest

from suture.delta.outside import Outside, outside
from tests.delta.compiled import unit

BASE = """
extern int other(int); static int state;
__attribute__((constructor)) static void early(void) { state = 1; }
__attribute__((destructor)) static void late(void) { state = 2; }
int f(int x) { return other(x) + state; } int shown = 5;
__attribute__((section(".collected"), used)) static int row = 7;
"""


def told(post: str, pre: str = BASE, *flags: str, suffix: str = ".c") -> dict[str, tuple[str, bool]]:
    found = outside(unit(pre, *flags, suffix=suffix), unit(post, *flags, suffix=suffix))
    assert len(set(found)) == len(found)
    return {o.label: (o.reason, o.exported) for o in found}


def edited(old: str, new: str) -> dict[str, tuple[str, bool]]:
    assert old in BASE
    return told(BASE.replace(old, new))


def test_functions_and_data_are_no_such_change() -> None:
    assert told(BASE) == {}
    assert edited("other(x) + state", "other(x) - state") == {}
    assert edited("int shown = 5", "static int fresh = 4; int shown = 6") == {}
    assert edited("int shown = 5", "static int shown = 5") == {}


MORE = "\n__attribute__((constructor)) static void second(void) { state = 9; }\n"


def test_constructors_and_destructors_that_come_or_go_are_named() -> None:
    for post, pre in ((BASE + MORE, BASE), (BASE, BASE + MORE)):
        assert list(told(post, pre)) == [".init_array"]
        assert "constructors), which has run already" in told(post, pre)[".init_array"][0]
    for post, pre in ((BASE + MORE.replace("con", "de"), BASE), (BASE, BASE + MORE.replace("con", "de"))):
        assert list(told(post, pre)) == [".fini_array"]
        assert "destructors), which is registered already" in told(post, pre)[".fini_array"][0]
    # another function in its place is a change, its other code is none
    assert list(told(BASE.replace("early", "sooner"))) == [".init_array"]
    assert edited("state = 1", "state = 11") == {}


def section(text: str, name: str = ".collected.x") -> str:
    return f'.section {name},"a",@progbits\n{text}\n'


def test_a_section_without_symbols_that_others_collect_is_compared_by_contents_and_names() -> None:
    pre = section(".quad outside + 8, 5")
    assert told(pre, pre, suffix=".s") == {}
    for post in (
        ".quad outside + 9, 5",
        ".quad outside + 8, 6",
        ".quad inside + 8, 5",
        ".long 0, 0; .quad outside + 8",
        ".quad 5, outside + 8",
    ):
        found = told(section(post), pre, suffix=".s")
        assert found == {
            ".collected.x": ("the fix changes the section .collected.x, which the linker or the loader collects", False)
        }, post
    assert list(told("nop\n", pre, suffix=".s")) == list(told(pre, "nop\n", suffix=".s")) == [".collected.x"]
    assert list(told(pre + section(".quad outside + 8, 5", ".collected.y"), pre, suffix=".s")) == [".collected.y"]


@pytest.mark.parametrize(
    "name",
    [".text.x", ".rodata.x", ".data.x", ".tdata.x", ".lrodata.x", ".gcc_except_table.x", ".note.x", ".stapsdt.base"],
)
def test_ordinary_sections_are_left_to_others(name: str) -> None:
    flags = "ax" if "text" in name else "awT" if "tdata" in name else "aw"
    pre, post = (f'.section {name},"{flags}",@progbits\n.quad {n}\n' for n in (1, 2))
    assert told(post, pre, suffix=".s") == {}


def test_what_moves_to_or_comes_into_a_section_that_others_collect_is_named() -> None:
    found = edited('section(".collected"), ', "")
    assert found == {"row": ("the fix moves row from section .collected to .data.row", False)}
    added = '__attribute__((section(".other"), used)) static int more = 3;'
    assert told(BASE + added) == {"more": ("the fix adds more to section .other, which is collected by name", False)}
    # between ordinary ones nothing is lost
    assert told("int x = 5;", "int x;") == {}
    # a new function in such a section is code
    assert told('static __attribute__((section(".mine"), used)) int f(void) { return 1; }', "") == {}


def test_new_names_for_other_binaries_are_named_with_their_kind() -> None:
    found = outside(
        unit(BASE),
        unit(
            BASE + "int fresh(int x) { return x; }\nint added = 4;\nstatic int quiet;\n"
            '__attribute__((visibility("hidden"))) int hidden(void) { return 1; }'
        ),
    )
    reason = "the fix adds the global {0}, which nothing in this patch uses; no other binary would find it"
    assert sorted(found, key=lambda o: o.label) == [
        Outside("added", reason.format("variable added"), exported=True),
        Outside("fresh", reason.format("function fresh"), exported=True),
    ]


def test_of_what_every_user_has_a_copy_nothing_is_said() -> None:
    pre = "int use(int x) { return x; }"
    assert told(
        "inline int common(int x) { return x + 1; }\nint use(int x); int (*p)(int) = common; int use(int x) { return "
        "x; }",
        pre,
        "-O0",
        suffix=".cc",
    ).keys() == {"p"}
