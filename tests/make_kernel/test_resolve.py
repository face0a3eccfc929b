"""What each reference of new kernel code becomes. Units are compiled; the image, its names and its exports are
given."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from suture.delta.atom import Atom
from suture.make_kernel.change import KernelChange
from suture.make_kernel.image import KernelImage
from suture.make_kernel.object import LEFT, WRITTEN_OVER, KernelReference
from suture.make_kernel.resolve import Exported, Exports, Internal, KernelResolver, Livepatched, Overwritten
from suture.number import SectionOffset, Vaddr
from suture.refusal import Refusal
from tests.make_kernel.test_change import BASE, HELPER, QUIET_EDIT, F, N, change

NAMES = {
    "helper": (Vaddr(0x1000),),
    "g": (Vaddr(0x2000),),
    "state": (Vaddr(0x3000),),
    "table": (Vaddr(0x4000),),
    "f": (Vaddr(0x5000),),
    "outside": (Vaddr(0x6000),),
    "quiet": (Vaddr(0x7000),),
    "silent": (Vaddr(0x8000), Vaddr(0x8800)),
}
EXPORTS = Exports(
    {"outside": ("vmlinux", ""), "spaced": ("vmlinux", "NS"), "theirs": ("other", ""), "ours": ("module", "")}
)


def made(
    *edits: tuple[str, str],
    base: str = BASE,
    name: str = "vmlinux",
    depends: tuple[str, ...] = (),
    shared: dict[str, Vaddr] | None = None,
    names: dict[str, tuple[Vaddr, ...]] = NAMES,
) -> KernelChange:
    c = change(*edits, base=base, name=name, names=names)
    return replace(c, image=replace(c.image, depends=depends, shared=shared or {}))


def resolver(*changes: KernelChange, images: dict[str, KernelImage] | None = None) -> KernelResolver:
    return KernelResolver(changes, EXPORTS, lambda name: (images or {}).get(name))


def atom(c: KernelChange, label: str) -> Atom:
    return next(a for a in c.post.atoms.values() if a.label == label)


def to(c: KernelChange, source: str, label: str) -> KernelReference:
    """The first reference of a function to an atom, or to an external name."""
    rows = [
        r
        for r in c.post.functions[source].hot.references
        if (r.symbol if r.section is None else c.post.atoms[r.section].label) == label
    ]
    assert rows and isinstance(rows[0], KernelReference)
    return rows[0]


def resolved(c: KernelChange, source: str, label: str, r: KernelResolver | None = None) -> object:
    return (r or resolver(c)).resolve(0, c.post.functions[source].hot, to(c, source, label))


def why(found: object) -> str:
    assert isinstance(found, Refusal) and found.remedy
    return found.reason


def external(name: str, c: KernelChange | None = None, **images: KernelImage) -> object:
    c = c or made(F)
    hot = c.post.functions["f"].hot
    ref = replace(to(c, "f", "helper"), section=None, symbol=name)
    return resolver(c, images=images).resolve(0, hot, ref)


def test_what_runs_is_found_by_its_name_and_position() -> None:
    assert resolved(made(F), "f", "helper") == Livepatched("vmlinux", "helper", 0)
    c = made(HELPER)
    assert resolved(c, "helper", "state") == Livepatched("vmlinux", "state", 0)
    index = c.pairs.pre_of[atom(c, "state").index]
    c.match.implied[index] = {Vaddr(0x3000): ["a field"]}
    assert resolved(c, "helper", "state") == Livepatched("vmlinux", "state", 0)
    two = made(F, names={**NAMES, "helper": (Vaddr(0x900), Vaddr(0x1000))})
    two.match.addresses["helper"] = Vaddr(0x1000)
    found = resolved(two, "f", "helper")
    assert found == Livepatched("vmlinux", "helper", 2)
    assert isinstance(found, Livepatched) and found.symbol == ".klp.sym.vmlinux.helper,2"


def test_what_nothing_implies_or_names_is_refused() -> None:
    assert (
        why(resolved(made(F, names={}), "f", "helper"))
        == "where helper lies in the running kernel is implied by nothing"
    )
    c = made(F, names={})
    c.match.addresses["helper"] = Vaddr(0x1234)
    assert why(resolved(c, "f", "helper")) == "helper has no name in the running kernel"
    c = made(F)
    del c.pairs.pre_of[atom(c, "helper").index]
    assert why(resolved(c, "f", "helper")) == "helper has no counterpart in the running kernel"


def test_code_of_the_patch_is_called_directly() -> None:
    c = made(F, HELPER)
    assert resolved(c, "f", "helper") == Internal(0, atom(c, "helper").index)
    c = made(QUIET_EDIT)
    assert resolved(c, "g", "quiet") == Internal(0, atom(c, "quiet").index)
    base = BASE.replace("return x * 9", "return x > 5 ? outside(silent(x - 1)) * 3 : x * 9")
    c = made(("x * 9", "x * 10"), base=base)
    assert resolved(c, "silent", "silent") == Internal(0, atom(c, "silent").index)


def test_whoever_takes_the_address_of_a_replaced_function_means_the_one_that_all_know() -> None:
    base = BASE.replace("return helper(x) + 1", "pointer = helper; return x + 1").replace(
        "extern", "extern int (*volatile pointer)(int); extern", 1
    )
    c = made(("x + 1", "x + 2"), HELPER, base=base)
    assert resolved(c, "f", "helper") == Livepatched("vmlinux", "helper", 0)
    inside = replace(to(c, "f", "helper"), value=SectionOffset(4))
    assert resolver(c).resolve(0, c.post.functions["f"].hot, inside) == Internal(0, atom(c, "helper").index)


def test_code_that_is_freed_after_initialisation_is_refused() -> None:
    base = BASE.replace("return helper(x) + 1", "return setup(x) + 1").replace("extern", "int setup(int); extern", 1)
    assert (
        why(resolved(made(("setup(x) + 1", "setup(x) + 2"), base=base), "f", "setup"))
        == "refers to setup, which is freed after initialisation"
    )


def test_a_weak_function_is_whoever_has_its_name() -> None:
    base = BASE.replace(f"{N}static int helper", f"__attribute__((weak)) {N}int helper")
    assert resolved(made(F, base=base), "f", "helper") == Livepatched("vmlinux", "helper", 0)
    assert (
        why(resolved(made(F, base=base, names={}), "f", "helper")) == "nothing in the running kernel is called helper"
    )


def test_exports_of_vmlinux_are_bound_by_the_module_loader() -> None:
    assert external("outside") == Exported("outside")
    assert external("spaced") == Exported("spaced", "NS")
    base = BASE.replace(f"{N}static int helper", f"{N}int helper")
    c = made(F, base=base)
    exported = KernelResolver((c,), Exports({"helper": ("vmlinux", "")}))
    assert resolved(c, "f", "helper", exported) == Exported("helper")
    static = made(F)
    assert resolved(
        static, "f", "helper", KernelResolver((static,), Exports({"helper": ("vmlinux", "")}))
    ) == Livepatched("vmlinux", "helper", 0)


def test_names_of_the_same_object_are_told_apart_by_what_running_code_implies() -> None:
    c = made(F)
    assert external("table", c) == Livepatched("vmlinux", "table", 0)
    assert why(external("silent", c)) == "2 symbols are called silent; which is meant is implied by nothing"
    c.match.implied["silent"] = {Vaddr(0x8800): ["a field"]}
    assert external("silent", c) == Livepatched("vmlinux", "silent", 2)
    c.match.implied["silent"] = {Vaddr(0x9999): ["a field"]}
    assert why(external("silent", c)) == "silent is not where running code has it"
    assert external("silent", made(F, shared={"silent": Vaddr(0x8000)})) == Livepatched("vmlinux", "silent", 1)


def test_names_of_other_objects_are_found_where_the_module_depends_on_them() -> None:
    assert why(external("nobody")) == "nothing in the running kernel is called nobody"
    c = made(F, name="module", depends=("other",))
    assert external("theirs", c) == Livepatched("other", "theirs", 0)
    known = replace(c, image=replace(c.image, externals={"theirs": Vaddr(5)}))
    assert external("theirs", known) == Livepatched("other", "theirs", 0)
    assert (
        why(external("theirs", made(F, name="module")))
        == "needs theirs of the module other, which module does not depend on"
    )
    far = KernelImage("other", (), {"far": (Vaddr(0x10), Vaddr(0x20))}, {}, "", (), {"far": Vaddr(0x20)})
    assert external("far", c, other=far) == Livepatched("other", "far", 2)
    assert external("far", c, vmlinux=replace(far, name="vmlinux")) == Livepatched("vmlinux", "far", 2)
    assert why(external("far", made(F, name="module"), other=far)).startswith("nothing in the running kernel")
    assert why(external("far", c, other=replace(far, shared={}))).startswith("nothing in the running kernel")
    assert why(external("far", c, other=replace(far, shared={"far": Vaddr(0x30)}))).startswith(
        "nothing in the running kernel"
    )


NEW = ("int f(int x)", f'{N}int added(int x) {{ __asm__(""); return x; }}\n{N}int f(int x)')


def test_what_the_fix_adds_to_another_unit_is_taken_where_it_is_there_too() -> None:
    first, second = made(NEW), made(F)
    number = atom(first, "added").index

    def seen(a: KernelChange, b: KernelChange) -> object:
        hot = b.post.functions["f"].hot
        return resolver(a, b).resolve(1, hot, replace(to(b, "f", "helper"), section=None, symbol="added"))

    assert seen(first, second) == Internal(0, number)
    module = made(F, name="module", depends=("first",))
    assert seen(first, module) == Internal(0, number)
    assert seen(made(NEW, name="first"), module) == Internal(0, number)
    assert isinstance(seen(made(NEW, name="stranger"), module), Refusal)
    # the nearest first
    own = made(NEW, F, name="module", depends=("first",))
    r = resolver(first, own)
    assert r.resolve(
        1, own.post.functions["f"].hot, replace(to(own, "f", "helper"), section=None, symbol="added")
    ) == Internal(1, atom(own, "added").index)


def test_fields_that_are_written_over_or_lead_to_what_is_left_out(monkeypatch: pytest.MonkeyPatch) -> None:
    c = made(F)
    monkeypatch.setattr(
        type(c.special_post),
        "is_written_over",
        lambda self, index, offset: (index, offset) == (c.post.functions["f"].hot.index, to(c, "f", "helper").offset),
    )
    assert external(WRITTEN_OVER, c) == Overwritten()
    monkeypatch.setattr(type(c.special_post), "is_written_over", lambda self, index, offset: False)
    assert why(external(WRITTEN_OVER, c)) == f"refers to the {WRITTEN_OVER}, which has no counterpart in a patch"
    assert why(external(LEFT + ".x", c)) == "refers to the section .x, which has no counterpart in a patch"


def test_constants_of_the_unit() -> None:
    c = made(("quiet(x) + table", "quiet(x) - table"))
    assert resolved(c, "g", "table") == Livepatched("vmlinux", "table", 0)
    changed = made(("{1, 2, 3, 4}", "{1, 2, 3, 5}"))
    assert resolved(changed, "g", "table") == Internal(0, atom(changed, "table").index)
    # one whose place is not known is as good anew
    lost = made(("quiet(x) + table", "quiet(x) - table"), names={**NAMES, "table": ()})
    assert resolved(lost, "g", "table") == Internal(0, atom(lost, "table").index)
    base = BASE.replace("static const int table", "const int table")
    shared = made(("quiet(x) + table", "quiet(x) - table"), base=base, names={})
    assert why(resolved(shared, "g", "table")).startswith("where table lies")
    text = BASE.replace("return x * 9", 'return outside((long)"some text") * 9')
    merged = made(("some text", "other text"), base=text)
    strings = next(a for a in merged.post.atoms.values() if a.kind.value == "merged constants")
    assert resolver(merged).resolve(
        0, merged.post.functions["silent"].hot, to(merged, "silent", strings.label)
    ) == Internal(0, strings.index)


def test_variables_of_the_unit() -> None:
    fresh = made(("x * 9", "x * 9 + ++added"), ("static int state", "static int added; static int state"))
    assert resolved(fresh, "silent", "added") == Internal(0, atom(fresh, "added").index)
    odd = made(
        ("x * 9", "x * 9 + ++added"),
        ("static int state", 'static int added __attribute__((section(".mine"))); static int state'),
    )
    assert why(resolved(odd, "silent", "added")) == "needs a new variable added in .mine"
    once = made(
        ("x * 9", "x * 9 + ++added"),
        ("static int state", 'static int added __attribute__((section(".init.data"))); static int state'),
    )
    assert why(resolved(once, "silent", "added")) == "needs a new variable added in .init.data"
    kept = made(
        ("x * 9", "x * 10 + state"),
        (' __attribute__((section(".init.data")))', ""),
        base=BASE.replace("static int state", 'static int state __attribute__((section(".init.data")))'),
    )
    assert resolved(kept, "silent", "state") == Internal(0, atom(kept, "state").index)
    c = made(HELPER)
    c.pairs.ambiguous.add(atom(c, "state").index)
    assert why(resolved(c, "helper", "state")) == "several variables of the running kernel may be state"


def test_exports_are_read_from_module_symvers(tmp_path: Path) -> None:
    (tmp_path / "s").write_text(
        "0x1\tone\tvmlinux\tEXPORT_SYMBOL\t\n0x2\ttwo\tdrivers/a-b/c-d\tEXPORT_SYMBOL_GPL\tNS\n"
        "0x3\tthree\tnet/x\tEXPORT_SYMBOL\n"
    )
    assert Exports.read(tmp_path / "s").owners == {"one": ("vmlinux", ""), "two": ("c_d", "NS"), "three": ("x", "")}


def test_a_module_keeps_its_variables_and_gets_messages_of_its_own() -> None:
    """A message's key must not lie in the module, which may be loaded after the patch."""
    named = dict(names={**NAMES, "state": (Vaddr(0x3000),), "told": (Vaddr(0x3100),)})
    text = BASE.replace(
        "static int state", 'int told __attribute__((section("__dyndbg"))) = 5; static int state'
    ).replace("x * 3 + state", "x * 3 + state + told")
    for name in ("vmlinux", "module"):
        c = made(("x * 3 + state", "x * 5 + state"), base=text, name=name, **named)  # type: ignore[arg-type]
        assert resolved(c, "helper", "state") == Livepatched(name, "state", 0)
        told = resolved(c, "helper", "told")
        assert told == (Livepatched(name, "told", 0) if name == "vmlinux" else Internal(0, atom(c, "told").index))


def test_what_has_no_size_has_no_state_and_what_has_a_byte_has() -> None:
    text = BASE.replace(
        "static int state", "struct nothing { }; static struct nothing none; static char one; static int state"
    )
    text = text.replace("return x * 9", "return outside((long)&none) + outside((long)&one) + one++ + x * 9")
    c = made(("x * 9", "x * 10"), base=text, names={**NAMES, "one": (Vaddr(0x3300),), "none": (Vaddr(0x3301),)})
    empty = [a for a in c.post.atoms.values() if a.label == "none"]
    if empty:
        assert resolved(c, "silent", "none") == Internal(0, empty[0].index)
    assert resolved(c, "silent", "one") == Livepatched("vmlinux", "one", 0)


def test_a_table_of_constants_that_only_the_fix_has_comes_along_and_so_does_a_pool() -> None:
    fresh = made(
        ("x * 9", "x * 9 + more[x & 1]"), ("static int state", "static const int more[] = {7, 8}; static int state")
    )
    assert resolved(fresh, "silent", "more") == Internal(0, atom(fresh, "more").index)
    cases = "".join(f"case {n}: return outside({n * n + 3});" for n in range(8))
    text = BASE.replace("return x * 9", f"switch (x) {{ {cases} }} return x * 9")
    c = made(("x * 9", "x * 10"), base=text)
    (pool,) = (a for a in c.post.atoms.values() if a.is_pool and a.label.endswith("silent"))
    assert c.pre_of(pool) is not None and resolved(c, "silent", pool.label) == Internal(0, pool.index)


def test_an_export_of_a_module_is_none_of_vmlinux_whatever_the_module_is_called() -> None:
    c = made(F, name="module", depends=("xt_other", "a_other"))
    hot = c.post.functions["f"].hot
    ref = replace(to(c, "f", "helper"), section=None, symbol="theirs")
    for owner in ("xt_other", "a_other"):
        found = KernelResolver((c,), Exports({"theirs": (owner, "")})).resolve(0, hot, ref)
        assert found == Livepatched(owner, "theirs", 0)
