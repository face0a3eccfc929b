"""What a dry run of kbuild says is compiled."""

from __future__ import annotations

from suture.make_kernel.built import KernelBuild, parse

_NAME = "-DKBUILD_MODFILE='\"x\"' -DKBUILD_BASENAME='\"x\"' -DKBUILD_MODNAME='\"%s\"' -D__KBUILD_MODNAME=kmod_x"
_LINE = (
    "set -e; trap 'rm -f x.o' HUP; gcc-12 -Wp,-MMD,a/.x.o.d -nostdinc -mcmodel=kernel %s %s -c -o %s %s   ; "
    "./tools/objtool/objtool a/x.o; echo"
)


def line(target: str, source: str, name: str, more: str = "") -> str:
    return _LINE % (more, _NAME % name, target, source)


LOG = "\n".join([
    ":", "make -f ./scripts/Makefile.build obj=a",
    line("a/x.o", "a/x.c", "x"),
    line("a/two.o", "a/two.c", "one-half:other", "-DMODULE"),
    line("lib/c.o", "lib/c.c", "c"),
    line("arch/x86/purgatory/c.o", "lib/c.c", "c", "-mcmodel=large"),
    "set -e; gcc -O2 -c -o scripts/host.o scripts/host.c; echo",
])  # fmt: skip


def test_units_have_their_flags_and_all_modules_that_hold_them() -> None:
    found = {c.object: c for c in parse(LOG)}
    assert set(found) == {"a/x.o", "a/two.o", "lib/c.o", "arch/x86/purgatory/c.o"}, "programs of the build are left out"
    assert found["a/two.o"].modules == ("one_half", "other") and found["a/x.o"].modules == ()
    assert found["a/x.o"].flags.split() == ["gcc-12", "-nostdinc", "-mcmodel=kernel"]


def test_a_second_compile_outside_the_kernel_is_told_apart() -> None:
    known = KernelBuild({"lib/c.c": tuple(c for c in parse(LOG) if c.source == "lib/c.c")})
    inside = known.kernel("lib/c.c")
    assert inside is not None and inside.object == "lib/c.o"
    assert [c.object for c in known.compiles["lib/c.c"] if not c.is_kernel] == ["arch/x86/purgatory/c.o"]
