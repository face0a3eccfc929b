"""What goes into a patch, what it refers to, and what is refused: on small units that gcc compiles and ld links."""

from __future__ import annotations

import subprocess
from dataclasses import replace
from pathlib import Path

import pytest

from suture.delta.layout import changed_layouts
from suture.elf.file import ElfFile
from suture.make_kernel.change import KernelChange, OtherCompiles
from suture.make_kernel.emit import emit
from suture.make_kernel.image import KernelImage
from suture.make_kernel.line import DeclarationLines
from suture.make_kernel.make import _keep
from suture.make_kernel.match import match
from suture.make_kernel.object import KernelObject
from suture.make_kernel.resolve import Exports, KernelResolver
from suture.make_kernel.select import KernelSelection, select
from suture.make_kernel.special_section import SpecialSections
from suture.number import Vaddr
from tests.make_kernel.test_match import link

_FLAGS = ("-O2", "-g", "-mcmodel=kernel", "-fno-pic", "-fno-asynchronous-unwind-tables", "-fcf-protection=none", "-c")
_TRACED = ("-pg", "-mfentry", "-mrecord-mcount")
_SECTIONS = ("-ffunction-sections", "-fdata-sections")
_OUTSIDE = "int outside(int a) { return a + 1; } int hidden(int a) { return a; } void __fentry__(void) {}"

BASE = """
#define noinline __attribute__((noinline))
extern int outside(int); extern int hidden(int);
static int state = 3;
static const int table[4] = { 1, 2, 3, 4 };
struct thing { int a; };
struct thing things[4];
noinline int reader(int n) { return table[n & 3] * outside(n) + things[n & 3].a; }
noinline int entry(int a)
{
\tif (a > 100)
\t\treturn -1;
\treturn state += hidden(a) * 13;
}
__attribute__((section(".init.text"))) int setup(int a) { return outside(a) * 3 + a; }
__attribute__((no_instrument_function)) noinline int quiet(int a) { return hidden(a) * 21 + outside(a); }
"""


def compiled(tmp_path: Path, name: str, text: str, *more: str) -> ElfFile:
    source, out = tmp_path / "unit.c", tmp_path / f"{name}.o"
    source.write_text(text)
    subprocess.run(["gcc", *_FLAGS, *_TRACED, *more, "-o", str(out), "unit.c"], check=True, cwd=tmp_path)
    return ElfFile.read(out)


def change(tmp_path: Path, new: str, name: str = "vmlinux", old: str = BASE) -> KernelChange:
    (tmp_path / "other.c").write_text(_OUTSIDE)
    flags = [f for f in _FLAGS if f != "-g"]
    subprocess.run(["gcc", *flags, "-o", str(tmp_path / "other.o"), str(tmp_path / "other.c")], check=True)
    plain = compiled(tmp_path, "plain", old)
    image: KernelImage = replace(link(tmp_path, tmp_path / "other.o", tmp_path / "plain.o"), name=name)
    pre = KernelObject(compiled(tmp_path, "pre", old, *_SECTIONS))
    post = KernelObject(compiled(tmp_path, "post", new, *_SECTIONS))
    found = match("unit.c", plain, pre, image)
    return KernelChange("unit.c", pre, post, image, found, SpecialSections(pre), SpecialSections(post))


def selected(one: KernelChange) -> KernelSelection:
    exports = Exports({"outside": ("vmlinux", ""), "__fentry__": ("vmlinux", "")})
    layouts = {0: changed_layouts(one.pre.elf, one.post.elf, one.replaced)}
    return select((one,), KernelResolver((one,), exports), layouts, {0: DeclarationLines(one.post.elf)})


def reasons(one: KernelChange) -> list[tuple[str, str, str]]:
    return [(f"{Path(r.file).name}:{r.line}", r.function, r.reason) for r in selected(one).refused]


def symbols(one: KernelChange) -> set[str]:
    made = ElfFile(emit((one,), selected(one)))
    return {s.name for s in made.symbols if s.name and not s.is_defined}


def test_a_changed_function_refers_to_running_data_and_to_what_nothing_exports(tmp_path: Path) -> None:
    one = change(tmp_path, BASE.replace("a > 100", "a > 100 || outside(a) < 0"))
    chosen = selected(one)
    assert not chosen.refused and [(r.name, r.position) for r in chosen.replaced] == [("entry", 0)]
    assert symbols(one) == {".klp.sym.vmlinux.state,0", ".klp.sym.vmlinux.hidden,0", "outside", "__fentry__"}


def test_a_module_that_is_patched_is_not_depended_on(tmp_path: Path) -> None:
    one = change(tmp_path, BASE.replace("a > 100", "a > 90"), "ext4")
    assert {".klp.sym.ext4.state,0", ".klp.sym.ext4.hidden,0"} <= symbols(one)


def test_new_static_data_and_functions_come_along(tmp_path: Path) -> None:
    more = "static int count; noinline static int more(int a) { return a + count++; }\n"
    new = BASE.replace("noinline int entry", f"{more}noinline int entry")
    new = new.replace("hidden(a) * 13", "hidden(more(a)) * 13")
    one = change(tmp_path, new)
    made = ElfFile(emit((one,), selected(one)))
    assert {"count", "more"} <= {s.name for s in made.symbols if s.is_defined}
    assert _keep((one,), selected(one)) == ()


def test_a_new_function_whose_address_is_kept_makes_the_patch_stay_loaded(tmp_path: Path) -> None:
    new = BASE.replace("noinline int entry", "int (*hook)(int);\nnoinline static int more(int a) { return a * 5; }\n"
                       "noinline int entry").replace("return -1;", "{ hook = more; return -1; }")  # fmt: skip
    old = BASE.replace("noinline int entry", "int (*hook)(int);\nnoinline int entry")
    one = change(tmp_path, new, old=old)
    assert not selected(one).refused
    assert _keep((one,), selected(one)) == ("the address of more may be kept by the kernel",)


def test_a_changed_initial_value_is_refused_with_its_place(tmp_path: Path) -> None:
    ((place, name, reason),) = reasons(change(tmp_path, BASE.replace("state = 3", "state = 4")))
    assert (place, name) == ("unit.c:4", "state") and "initial value" in reason


def test_a_changed_table_comes_along_with_all_functions_that_read_it(tmp_path: Path) -> None:
    one = change(tmp_path, BASE.replace("1, 2, 3, 4", "1, 2, 3, 5"))
    assert [r.name for r in selected(one).replaced] == ["reader"]
    assert "table" in {s.name for s in ElfFile(emit((one,), selected(one))).symbols if s.is_defined}


def test_a_changed_table_that_data_leads_to_is_refused_with_its_place(tmp_path: Path) -> None:
    old = BASE.replace("struct thing {", "const int *registered = table;\nstruct thing {")
    found = reasons(change(tmp_path, old.replace("1, 2, 3, 4", "1, 2, 3, 5"), old=old))
    assert any(place == "unit.c:6" and name == "registered" and "initial value" in r for place, name, r in found)


def test_a_changed_type_is_refused_with_its_place(tmp_path: Path) -> None:
    found = reasons(change(tmp_path, BASE.replace("{ int a; };", "{ int a; int b; };")))
    assert any(place == "unit.c:6" and "struct thing changes: size 4 -> 8" in reason for place, _, reason in found)


def test_initialisation_is_refused(tmp_path: Path) -> None:
    found = reasons(change(tmp_path, BASE.replace("outside(a) * 3 + a", "outside(a) * 4 + a")))
    assert [(n, "only runs while" in r) for _, n, r in found] == [("setup", True)]


def test_the_removal_of_what_is_built_in_never_runs_and_that_of_a_module_does(tmp_path: Path) -> None:
    old = BASE.replace(".init.text", ".exit.text")
    new = old.replace("outside(a) * 3 + a", "outside(a) * 4 + a")
    ((_, _, alone),) = reasons(change(tmp_path, new, old=old))
    assert (
        alone == "changes the code of no function that runs: setup never runs, since it would remove what is built in"
    )
    both = change(tmp_path, new.replace("* 13", "* 14"), old=old)
    assert [r.name for r in selected(both).replaced] == ["entry"] and not reasons(both) and both.idle == {"setup"}
    module = reasons(change(tmp_path, new, "net", old=old))
    assert [(n, "only runs while" in r) for _, n, r in module] == [("setup", True)]


def test_a_function_that_the_tracer_does_not_enter_is_refused(tmp_path: Path) -> None:
    ((place, name, reason),) = reasons(change(tmp_path, BASE.replace("hidden(a) * 21", "hidden(a) * 22")))
    assert (place, name) == ("unit.c:16", "quiet") and "notrace" in reason


def test_a_static_function_that_the_tracer_does_not_enter_comes_along_with_its_callers(tmp_path: Path) -> None:
    old = BASE + (
        "__attribute__((no_instrument_function)) noinline static int body(int a) { return hidden(a) * 31; }\n"
        "noinline int caller(int a) { return body(a) + 1; }\n"
    )
    one = change(tmp_path, old.replace("* 31", "* 33"), old=old)
    chosen = selected(one)
    assert [r.name for r in chosen.replaced] == ["caller"] and not chosen.refused
    assert "body" in {s.name for s in ElfFile(emit((one,), chosen)).symbols if s.is_defined}


def test_an_empty_structure_is_no_reason_to_refuse(tmp_path: Path) -> None:
    old = BASE + (
        "struct nothing { }; extern void register_key(struct nothing *);\n"
        "noinline int keyed(int a) { static struct nothing __key; outside((int)(long)&__key); return a * 3; }\n"
    )
    one = change(tmp_path, old.replace("a * 3; }", "a * 7; }"), old=old)
    assert not selected(one).refused and emit((one,), selected(one))


def test_a_name_that_the_kernel_lacks_is_refused(tmp_path: Path) -> None:
    new = BASE.replace("extern int outside(int);", "extern int outside(int), absent(int);").replace(
        "a > 100", "absent(a)"
    )
    ((_, name, reason),) = reasons(change(tmp_path, new))
    assert name == "entry" and "nothing in the running kernel is called absent" in reason


def test_a_function_of_vmlinux_that_nothing_exports_is_found_by_its_name(tmp_path: Path) -> None:
    new = BASE.replace("extern int outside(int);", "extern int outside(int), unshared(int);").replace(
        "a > 100", "unshared(a)"
    )
    one = change(tmp_path, new, "ext4")
    rows = {"unshared": (Vaddr(0x10), Vaddr(0x20), Vaddr(0x30)), "static_alone": (Vaddr(0x40),)}
    kernel = KernelImage("vmlinux", (), rows, {}, "", (), {"unshared": Vaddr(0x20)})
    found = select(
        (one,),
        KernelResolver((one,), Exports({"outside": ("vmlinux", "")}), {"vmlinux": kernel}.get),
        {},
        {0: DeclarationLines(one.post.elf)},
    )
    made = {s.name for s in ElfFile(emit((one,), found)).symbols if not s.is_defined}
    assert ".klp.sym.vmlinux.unshared,2" in made, "the one that is not static, by its place among equal names"
    alone = change(tmp_path, new.replace("unshared", "static_alone"), "ext4")
    chosen = select(
        (alone,),
        KernelResolver((alone,), Exports({"outside": ("vmlinux", "")}), {"vmlinux": kernel}.get),
        {},
        {0: DeclarationLines(one.post.elf)},
    )
    assert "nothing in the running kernel is called static_alone" in chosen.refused[0].reason


@pytest.mark.parametrize(("depends", "is_found"), [(("vsock",), True), ((), False)])
def test_a_new_function_of_a_module_is_called_from_one_that_needs_it(
    tmp_path: Path, depends: tuple[str, ...], is_found: bool
) -> None:
    (tmp_path / "a").mkdir()
    (tmp_path / "b").mkdir()
    new = BASE + "noinline int added(int a) { return hidden(a) * 77; }\n"
    owner = change(tmp_path / "a", new, "vsock")
    caller = change(
        tmp_path / "b",
        BASE.replace("extern int outside", "extern int added(int); extern int outside").replace("a > 100", "added(a)"),
    )
    caller = replace(caller, image=replace(caller.image, name="virtio", depends=depends))
    both = (owner, caller)
    lines = {n: DeclarationLines(c.post.elf) for n, c in enumerate(both)}
    found = select(both, KernelResolver(both, Exports({"outside": ("vmlinux", "")})), {}, lines)
    assert (not found.refused) is is_found
    if is_found:
        assert "added" in {s.name for s in ElfFile(emit(both, found)).symbols if s.is_defined}
    else:
        assert "nothing in the running kernel is called added" in found.refused[0].reason


def test_what_initialisation_has_freed_comes_along_when_the_fix_keeps_it(tmp_path: Path) -> None:
    old = BASE.replace(
        "noinline int entry", '__attribute__((section(".init.data"))) static int early = 5;\nnoinline int entry'
    )
    old = old.replace("return outside(a) * 3 + a", "return outside(a) * 3 + a + early++")
    new = old.replace('__attribute__((section(".init.data"))) ', "").replace(
        '__attribute__((section(".init.text"))) ', "noinline "
    )
    one = change(
        tmp_path,
        new.replace("a > 100", "a > setup(a)").replace("noinline int entry", "int setup(int);\nnoinline int entry"),
        old=old,
    )
    chosen = selected(one)
    assert not chosen.refused and [r.name for r in chosen.replaced] == ["entry"]
    assert {"setup", "early"} <= {s.name for s in ElfFile(emit((one,), chosen)).symbols if s.is_defined}


def test_a_fix_that_changes_no_function_is_refused(tmp_path: Path) -> None:
    (told,) = selected(change(tmp_path, BASE)).refused
    assert (told.function, told.file, told.line, told.reason) == ("", "", 0, "changes the code of no function")


_LABEL = """
struct key { long a, b; } key_here;
noinline int labelled(int a)
{
\tasm goto("1: .byte 0x0f,0x1f,0x44,0x00,0x00\\n.pushsection __jump_table,\\"aw\\"\\n.balign 8\\n"
\t\t".long 1b - ., %l[yes] - .\\n"
\t\t".quad %c0 - .\\n.popsection" : : "i"(&key_here) : : yes);
\treturn hidden(a) * 3;
yes:
\treturn hidden(a) * 5;
}
"""


def test_a_jump_label_of_vmlinux_is_copied_and_one_of_a_module_is_refused(tmp_path: Path) -> None:
    new = (BASE + _LABEL).replace("hidden(a) * 3;", "hidden(a) * 4;")
    one = change(tmp_path, new, old=BASE + _LABEL)
    made = ElfFile(emit((one,), selected(one)))
    table = made.section("__jump_table")
    assert table is not None and table.sh_size == 16
    assert ".klp.sym.vmlinux.key_here,0" in symbols(one)
    ((_, name, reason),) = reasons(change(tmp_path, new, "ext4", BASE + _LABEL))
    assert name == "labelled" and "jump label key_here of the module ext4" in reason
    module = selected(change(tmp_path, new, "ext4", BASE + _LABEL))
    assert not any(entry.section == "__jump_table" for _, entry in module.entries)


def test_a_tracepoint_of_a_module_stays_silent_in_new_code_and_that_is_told_once(tmp_path: Path) -> None:
    label = _LABEL.replace("key_here", "__tracepoint_here")
    inside = label[label.index("\tasm goto") : label.index("\treturn hidden")]
    label = label.replace(inside, inside + inside.replace("1:", "2:").replace("1b", "2b"))
    new = (BASE + label).replace("hidden(a) * 3;", "hidden(a) * 4;")
    chosen = selected(change(tmp_path, new, "xfs", BASE + label))
    assert not chosen.refused and [r.name for r in chosen.replaced] == ["labelled"]
    assert chosen.notes == ["labelled: the tracepoint here of the module stays silent in new code"]
    assert not any(entry.section == "__jump_table" for _, entry in chosen.entries) and not chosen.keys


def test_a_refusal_names_the_file_that_the_function_stands_in(tmp_path: Path) -> None:
    begin = "__attribute__((no_instrument_function)) noinline int quiet"
    old = BASE.replace(begin, f'#line 7 "include/net/quiet.h"\n{begin}')
    ((place, name, _),) = reasons(change(tmp_path, old.replace("hidden(a) * 21", "hidden(a) * 22"), old=old))
    assert (place, name) == ("quiet.h:7", "quiet")


def test_a_table_that_something_else_uses_too_is_refused(tmp_path: Path) -> None:
    text = (
        _TABLE + "static const struct ops *chosen = &read_only;\nnoinline int ask(int a) { return chosen->run(a++); }\n"
    )
    text += "noinline void choose(const struct ops *p) { chosen = p; }\n"
    base = BASE + text + _ENLIST
    one = change(tmp_path, base.replace("read_only = { first, 2 };", "read_only = { first, 3 };"), old=base)
    told = {name: reason for _, name, reason in reasons(one)}
    assert "the contents of this table change, which chosen uses too" in told["read_only"]


_KEYED = """
struct key { long a, b; } key_here;
#ifdef READ
#define enabled() (*(volatile long *)&key_here.a != 0)
#else
#define enabled() ({ __label__ yes; int on = 0; \
\tasm goto("1: .byte 0x0f,0x1f,0x44,0x00,0x00\\n.pushsection __jump_table,\\"aw\\"\\n.balign 8\\n" \
\t\t".long 1b - ., %l[yes] - .\\n" \
\t\t".quad %c0 - .\\n.popsection" : : "i"(&key_here) : : yes); if (0) { yes: on = 1; } on; })
#endif
noinline int keyed(int a) { return enabled() ? hidden(a) * 5 : hidden(a) * 3; }
noinline int likewise(int a) { return enabled() ? outside(a) * 7 : outside(a) * 11; }
"""


def _reading(tmp_path: Path, old: str, new: str) -> KernelChange:
    """A change whose new code reads the key that running code has a jump label of."""
    plain = change(tmp_path, new, "ext4", old)
    pre, post = (
        KernelObject(compiled(tmp_path, f"read{n}", f"#define READ\n{text}", *_SECTIONS))
        for n, text in enumerate((old, new))
    )
    return replace(plain, post=post, special_post=SpecialSections(post), other=OtherCompiles(plain.difference, pre))


def test_new_code_that_reads_a_key_takes_the_place_of_the_changed_function_alone(tmp_path: Path) -> None:
    old = BASE + _KEYED
    one = _reading(tmp_path, old, old.replace("hidden(a) * 3", "hidden(a) * 4"))
    chosen = selected(one)
    assert not chosen.refused and [r.name for r in chosen.replaced] == ["keyed"]
    made = ElfFile(emit((one,), chosen))
    assert made.section("__jump_table") is None and ".klp.sym.ext4.key_here,0" in symbols(one)
    plain = change(tmp_path, old.replace("hidden(a) * 3", "hidden(a) * 4"), "ext4", old)
    assert selected(plain).keys == {0: "key_here"}


def test_a_changed_function_without_code_of_its_own_when_keys_are_read_is_refused(tmp_path: Path) -> None:
    old = BASE + _KEYED.replace("noinline int keyed", "#ifndef READ\nnoinline int keyed").replace(
        "noinline int likewise", "#endif\nnoinline int likewise"
    )
    ((_, name, reason),) = reasons(_reading(tmp_path, old, old.replace("hidden(a) * 3", "hidden(a) * 4")))
    assert name == "keyed" and "no code of its own" in reason


_ALTERNATIVE = """
noinline int patched(int a)
{
\tasm volatile("1: nop; nop; nop\\n2:\\n.pushsection .altinstructions,\\"a\\"\\n.long 1b - ., 3f - .\\n.word 7\\n"
\t\t".byte 2b - 1b, 4f - 3f\\n.popsection\\n.pushsection .altinstr_replacement,\\"ax\\"\\n"
\t\t"3: .byte 0x0f,0x01,REPLACED\\n4:\\n"
\t\t".popsection");
\treturn outside(a) + 9;
}
"""


def test_an_alternative_that_changes_makes_its_function_differ_and_goes_in(tmp_path: Path) -> None:
    old, new = (BASE + _ALTERNATIVE.replace("REPLACED", code) for code in ("0xca", "0xcb"))
    one = change(tmp_path, new, old=old)
    assert [r.name for r in selected(one).replaced] == ["patched"]
    made = ElfFile(emit((one,), selected(one)))
    replacement = made.section(".altinstr_replacement")
    assert replacement is not None and made.bytes_of(replacement) == b"\x0f\x01\xcb"


_TABLE = """
struct ops { int (*run)(int); int number; };
extern int enlist(const struct ops *);
static noinline int first(int a) { return a * 5 + outside(a); }
static noinline int second(int a) { return a * 7 + outside(a); }
static const struct ops given = { first, 1 };
static const struct ops read_only = { first, 2 };
noinline int register_it(int a) { return enlist(&given) + a; }
noinline int call_it(int a) { return read_only.run(a) + read_only.number + second(a); }
"""
_ENLIST = "noinline int enlist(const struct ops *p) { return p != 0; }\n"


def with_table(tmp_path: Path, old: str, new: str) -> KernelChange:
    base = BASE + _TABLE
    text = base + _ENLIST
    assert old in text
    return change(tmp_path, text.replace(old, new), old=text)


def test_a_table_of_functions_that_was_given_away_is_refused(tmp_path: Path) -> None:
    """Who registered the old table calls what it holds, whatever the replaced function would register now."""
    one = with_table(tmp_path, "given = { first, 1 };", "given = { second, 1 };")
    ((_, name, reason),) = [r for r in reasons(one) if "given" in r[2] or r[1] == "given"]
    assert name == "given" and "who was given its address" in reason


def test_a_table_that_only_replaced_functions_read_goes_in(tmp_path: Path) -> None:
    new = _TABLE.replace("read_only = { first, 2 };", "read_only = { second, 2 };").replace(
        "+ second(a)", "- second(a)"
    )
    one = with_table(tmp_path, _TABLE, new)
    assert reasons(one) == []


_SHARED = '__attribute__((section(".sched.text"))) noinline'
_DEEP = f"{_SHARED} static int deep(int a) {{ return a ? hidden(a) * 5 + outside(a) : outside(a + 1); }}\n"
_WAKE = f"{_SHARED} int wake(int a) {{ return deep(a + 3) * 7 + LIMIT; }}\n"
_LAST = f"{_SHARED} int last(int a) {{ return deep(a) * 3 + 1; }}\n"
_IN_ONE_SECTION = BASE + _DEEP + _WAKE.replace("LIMIT", "11") + _LAST


def test_a_call_within_a_section_with_a_name_of_its_own_has_no_relocation_and_leads_where_it_did(
    tmp_path: Path,
) -> None:
    one = change(tmp_path, _IN_ONE_SECTION.replace("+ 11", "+ 12 * outside(a)"), old=_IN_ONE_SECTION)
    section = one.post.elf.section(".sched.text")
    assert section is not None
    named = {one.post.elf.symbols[r.symbol].name for r in one.post.elf.relocations_by_section[section.index]}
    assert "deep" not in named, "the compiler left no call for the assembler to fill in"
    chosen = selected(one)
    assert not chosen.refused and [r.name for r in chosen.replaced] == ["wake"], "last is what it was, wherever it lies"
    assert ".klp.sym.vmlinux.deep,0" in symbols(one)


def test_a_new_function_of_such_a_section_is_called_where_it_comes_to_lie(tmp_path: Path) -> None:
    more = f"{_SHARED} static int more(int a) {{ return outside(a) * 9 + hidden(a); }}\n"
    new = BASE + _DEEP + more + _WAKE.replace("deep(a + 3)", "more(a)").replace("LIMIT", "11") + _LAST
    one = change(tmp_path, new, old=_IN_ONE_SECTION)
    made = ElfFile(emit((one,), selected(one)))
    text = made.section(".text")
    assert text is not None
    begin = next(s.st_value for s in made.symbols if s.name == "more")
    rows = [r for r in made.relocations_by_section[text.index] if made.symbols[r.symbol].name == "section .text"]
    assert begin - 4 in [made.symbols[r.symbol].st_value + r.r_addend for r in rows]


def test_a_short_jump_out_of_a_function_is_refused(tmp_path: Path) -> None:
    own = _SHARED.replace("sched", "short")
    near = f"{own} static int near(int a) {{ return outside(a) * 2; }}\n"
    old = f"{BASE}{near}{own} int tail(int a) {{ return near(a); }}\n"
    one = change(tmp_path, old.replace("return near(a)", "return near(a + 1)"), old=old)
    assert [r[1:] for r in reasons(one)] == [
        ("tail", "jumps to near in a way that reaches no further than its own section")
    ]


def test_what_a_kernel_keeps_for_memory_that_is_plugged_in_is_running_code(tmp_path: Path) -> None:
    mark = '__attribute__((section(".meminit.text"), no_instrument_function)) noinline'
    old = (
        f"{BASE}{mark} static int zone(int a) {{ return hidden(a) * 5; }}\nint add(int a) {{ return zone(a) * 11; }}\n"
    )
    one = change(tmp_path, old.replace("zone(a) * 11", "zone(a) * 12"), old=old)
    assert [r[1:] for r in reasons(one)] == [("add", "refers to zone, which is freed after initialisation")]
    pre, post = (KernelObject(x.elf, keeps_memory_init=True) for x in (one.pre, one.post))
    kept = replace(one, pre=pre, post=post)
    assert reasons(kept) == [] and ".klp.sym.vmlinux.zone,0" in symbols(kept)
