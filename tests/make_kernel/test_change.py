"""What a fix changed in a unit of the kernel, and which functions are diverted for it."""

from __future__ import annotations

from suture.delta.compare import Difference, difference
from suture.elf.file import ElfFile
from suture.make_kernel.change import KernelChange, OtherCompiles, compared
from suture.make_kernel.image import KernelImage
from suture.make_kernel.match import KernelMatch
from suture.make_kernel.object import KernelObject
from suture.make_kernel.special_section import SpecialSections
from suture.match.proof import MatchedUnit
from suture.number import Vaddr
from tests.delta.compiled import object_of

N = "__attribute__((noinline)) "
QUIET = "__attribute__((noinline, no_instrument_function)) "
FLAGS = ("-mcmodel=kernel", "-fno-pic", "-fno-pie", "-pg", "-mfentry", "-mrecord-mcount")
BASE = f"""
extern int outside(int); static int state = 3; static const int table[4] = {{1, 2, 3, 4}};
{N}static int helper(int x) {{ __asm__(""); return x * 3 + state; }}
{QUIET}static int quiet(int x) {{ __asm__(""); return x * 7 + outside(x); }}
{N}int f(int x) {{ __asm__(""); return helper(x) + 1; }}
{N}int g(int x) {{ __asm__(""); state = x; return quiet(x) + table[x & 3]; }}
{QUIET}int silent(int x) {{ __asm__(""); return x * 9; }}
__attribute__((section(".init.text"))) {N}int setup(int x) {{ __asm__(""); return outside(x) * 3; }}
__attribute__((section(".exit.text"))) {N}int removed(int x) {{ __asm__(""); return outside(x) * 5; }}
"""


def obj(text: str, *more: str) -> KernelObject:
    return KernelObject(ElfFile(object_of(text, *FLAGS, *more)))


def change(
    *edits: tuple[str, str],
    base: str = BASE,
    name: str = "vmlinux",
    names: dict[str, tuple[Vaddr, ...]] | None = None,
    other: OtherCompiles | None = None,
    post: KernelObject | None = None,
) -> KernelChange:
    text = base
    for old, new in edits:
        assert old in text
        text = text.replace(old, new)
    pre, after = obj(base), post or obj(text)
    image = KernelImage(name, (), names or {}, {}, "")
    match = KernelMatch(MatchedUnit("u.c", "u.o", True, (), ()))
    return KernelChange("u.c", pre, after, image, match, SpecialSections(pre), SpecialSections(after), other)


F, HELPER, QUIET_EDIT = ("helper(x) + 1", "helper(x) + 2"), ("x * 3 + state", "x * 5 + state"), ("x * 7", "x * 11")


def test_changed_functions_are_diverted_to() -> None:
    c = change(F)
    assert (c.replaced, c.new, c.once, c.idle, c.lost) == ({"f"}, frozenset(), frozenset(), frozenset(), frozenset())
    assert change().replaced == frozenset()
    assert change(F, HELPER).replaced == {"f", "helper"}


def test_new_functions_come_along() -> None:
    fresh = ("int f(int x)", f"static int fresh(int); {N}int f(int x)")
    more = (f"{QUIET}int silent", f'{N}static int fresh(int x) {{ __asm__(""); return x; }}\n{QUIET}int silent')
    c = change(
        ("helper(x) + 1", "helper(x) + fresh(x)"),
        (fresh[0], "int f(int x)"),
        more,
        base=BASE.replace("extern", "static int fresh(int); extern", 1),
    )
    assert (c.replaced, c.new) == ({"f"}, {"fresh"})


def test_one_that_cannot_be_traced_comes_along_with_its_callers() -> None:
    c = change(QUIET_EDIT)
    assert (c.replaced, c.new) == ({"g"}, {"quiet"})
    # through another one
    base = BASE.replace(
        "int f(int x)",
        f'int over(int x); {QUIET}static int between(int x) {{ __asm__(""); return quiet(x) + 4; }}\n{N}int f(int x)',
    ).replace("helper(x) + 1", "between(x)")
    c = change(QUIET_EDIT, base=base)
    assert (c.replaced, c.new) == ({"f", "g"}, {"quiet", "between"})


def test_one_that_more_than_calls_lead_to_is_diverted_all_the_same_and_refused_later() -> None:
    taken = BASE + "int (*volatile pointer)(int); void take(void) { pointer = quiet; }\n"
    assert change(QUIET_EDIT, base=taken).replaced == {"quiet"}
    table = BASE + "int (*const pointers[])(int) = {quiet};\n"
    assert change(QUIET_EDIT, base=table).replaced == {"quiet"}
    assert change(("x * 9", "x * 10")).replaced == {"silent"}  # others may call it
    early = BASE.replace("outside(x) * 3", "quiet(x) * 3")
    assert change(QUIET_EDIT, base=early).replaced == {"quiet"}


def test_functions_of_initialisation_run_once_and_those_of_removal_never_in_vmlinux() -> None:
    both = (("outside(x) * 3", "outside(x) * 4"), ("outside(x) * 5", "outside(x) * 6"))
    c = change(*both)
    assert (c.replaced, c.new, c.once, c.idle) == (frozenset(), frozenset(), {"setup"}, {"removed"})
    c = change(*both, name="module")
    assert (c.once, c.idle) == ({"setup", "removed"}, frozenset())
    new = f'__attribute__((section(".init.text"))) int more(int x) {{ return x; }}\n{QUIET}int silent'
    c = change((f"{QUIET}int silent", new))
    assert (c.replaced, c.new, c.once) == (frozenset(), frozenset(), {"more"})


def test_a_function_that_the_fix_keeps_comes_along() -> None:
    c = change(
        ('__attribute__((section(".init.text"))) ', ""),
        ("helper(x) + 1", "helper(x) + setup(x)"),
        base=BASE.replace("extern", "int setup(int); extern", 1),
    )
    assert (c.replaced, c.new) == ({"f"}, {"setup"})


def test_where_an_old_atom_runs() -> None:
    c = change(F, names={"helper": (Vaddr(0x1000),), "g": (Vaddr(0x2000), Vaddr(0x3000)), "state": (Vaddr(0x4000),)})
    functions = c.pre.functions
    assert c.address_of(functions["helper"].hot) == 0x1000
    assert c.address_of(functions["g"].hot) is None  # two of the name
    assert c.address_of(functions["f"].hot) is None
    c.match.addresses["g"] = Vaddr(0x2500)
    assert c.address_of(functions["g"].hot) == 0x2500
    c.match.implied[functions["g"].hot.index] = {Vaddr(0x2600): ["a field"]}
    assert c.address_of(functions["g"].hot) == 0x2600
    numbered = "static int next(void) { static int n = 3; return ++n; } int f(void) { return next(); }"
    n = next(a for a in change(base=numbered).pre.atoms.values() if a.label.startswith("n."))
    assert change(base=numbered, names={n.label: (Vaddr(0x1000),)}).address_of(n) is None


def test_a_clone_has_its_old_number() -> None:
    c = change(F)
    assert c.old_name("f") == "f"
    index = c.post.functions["f"].hot.index
    c.pairs.pre_of[index] = c.pre.functions["g"].hot.index
    assert c.old_name("f") == "g" and c.pre_of(c.post.functions["f"].hot) is c.pre.functions["g"].hot
    del c.pairs.pre_of[index]
    assert c.old_name("f") == "f" and c.pre_of(c.post.functions["f"].hot) is None


def test_what_two_ways_to_compile_make_differ_is_no_change() -> None:
    otherwise = "-fno-schedule-insns2", "-O1"
    pre2, post = obj(BASE, *otherwise), obj(BASE.replace(*F), *otherwise)
    plain = difference(obj(BASE), obj(BASE.replace(*F)))
    c = change(other=OtherCompiles(plain, pre2), post=post)
    assert c.difference.changed == {"f"} and c.replaced == {"f"}
    assert c.lost == frozenset()
    # what shows in the first way alone counts too
    seen = Difference(frozenset({"g", "gone"}), frozenset(), frozenset(), frozenset(), frozenset())
    c = change(other=OtherCompiles(seen, pre2), post=post)
    assert c.difference.changed == {"f", "g"}
    assert c.lost == {"gone"}
    assert change(F).difference == change(F).difference


def test_special_entries_count_among_their_functions_code() -> None:
    row = '.pushsection __ex_table,\\"a\\"; .long 1b - ., 2b - ., %c0; .popsection'

    def text(kind: int) -> str:
        return BASE.replace(
            "int f(int x) {", 'int f(int x) { __asm__ volatile("1: nop; 2: ' + row + f'" :: "i"({kind}));'
        )

    pre, post = obj(text(1)), obj(text(2))
    assert difference(pre, post).changed == frozenset()
    found = compared(pre, post, SpecialSections(pre), SpecialSections(post))
    assert found.changed == {"f"}
    same = compared(pre, pre, SpecialSections(pre), SpecialSections(pre))
    assert same.changed == frozenset() and same.new == same.gone == frozenset()


def test_one_that_others_may_call_is_diverted_all_the_same_and_so_is_one_that_nobody_calls() -> None:
    base = BASE.replace(f"{QUIET}static int quiet", f"{QUIET}int quiet")
    c = change(QUIET_EDIT, base=base)
    assert (c.replaced, c.new) == ({"quiet"}, frozenset())
    alone = f'{BASE}{QUIET}__attribute__((used)) static int alone(int x) {{ __asm__(""); return x * 6; }}\n'
    c = change(("x * 6", "x * 8"), base=alone)
    assert (c.replaced, c.new) == ({"alone"}, frozenset())
