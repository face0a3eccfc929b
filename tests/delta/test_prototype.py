"""Argument and return registers of declared functions (psABI 3.2.3)."""

from __future__ import annotations

import pytest

from suture.delta.liveness import RETURN_REGISTERS, register_names
from suture.delta.prototype import Prototype, prototypes
from suture.elf.file import ElfFile
from tests.delta.compiled import object_of

HEAD = "typedef long word; enum e { A }; struct s { long a[4]; }; struct small { int x; }; union u { int i; };\n"
EVERYTHING = "*"
# declaration, registers that it returns in, registers that it reads (None: not told)
CASES = [
    ("void f(void)", "", ""),
    ("int f(void)", "rax", ""),
    ("double f(void)", "xmm0 ymm0", ""),
    ("float f(float a, double b)", "xmm0 ymm0", "xmm0 xmm1 ymm0 ymm1"),
    ("char *f(int a, long b, char c, short d, void *e, word g)", "rax", "rcx rdx rsi rdi r8 r9"),
    ("void f(int a, int b, int c, int d, int e, int g, int h)", "", "rcx rdx rsi rdi r8 r9"),
    ("void f(int a, double b, int c)", "", "rsi rdi xmm0 ymm0"),
    ("_Bool f(_Bool a)", "rax", "rdi"),
    ("unsigned char f(signed char a, unsigned short b)", "rax", "rsi rdi"),
    ("enum e f(enum e a)", "rax", "rdi"),
    ("word f(const volatile word a, int *restrict p)", "rax", "rsi rdi"),
    ("void (*f(int x))(int)", "rax", "rdi"),
    ("void f(int a, ...)", "", None),
    ("void f(struct small s)", "", None),
    ("void f(int a, union u x, int c)", "", None),
    ("void f(long double x)", "", None),
    ("void f(__int128 x)", "", None),
    ("void f(_Complex float x)", "", None),
    ("struct s f(int a)", EVERYTHING, None),
    ("struct small f(int a)", EVERYTHING, None),
    ("long double f(void)", EVERYTHING, None),
    ("__int128 f(int a)", EVERYTHING, None),
]  # fmt: skip


def told(text: str, *flags: str, suffix: str = ".c") -> dict[str, Prototype]:
    return dict(prototypes(ElfFile(object_of(HEAD + text, *flags, suffix=suffix))))


@pytest.mark.parametrize("version", ["-gdwarf-5", "-gdwarf-4"])
@pytest.mark.parametrize(("declaration", "returns", "reads"), CASES)
def test_what_a_declaration_tells(declaration: str, returns: str, reads: str | None, version: str) -> None:
    for text in (declaration + " { __builtin_trap(); }",):
        found = told(text, version)["f"]
        assert (
            found.returns == RETURN_REGISTERS
            if returns == EVERYTHING
            else register_names(found.returns) == tuple(returns.split())
        )
        assert (None if found.reads is None else register_names(found.reads)) == (
            None if reads is None else tuple(reads.split())
        )


def test_functions_of_other_units_are_told_by_their_declaration() -> None:
    found = told("extern int other(double, int); int f(int x) { return other(x, x); }", "-g")
    assert register_names(found["other"].reads or 0) == ("rdi", "xmm0", "ymm0")


def test_a_function_without_prototype_reads_what_nobody_tells() -> None:
    found = told("int f() { return 1; } int old(a, b) int a; double b; { return a + b; }", "-g", "-std=gnu89")
    assert found["f"].reads is None and register_names(found["f"].returns) == ("rax",)
    assert register_names(found["old"].reads or 0) == ("rdi", "xmm0", "ymm0")


def test_of_two_different_ones_of_a_name_neither_is_told() -> None:
    one = "static int f(int x) { return x; } int (*p)(int) = f;"
    assert "f" in told(one, "-g")
    two = "namespace a { int f(int x) { return x; } } namespace b { int f(double x) { return x; } }"
    assert {n for n in told(two, "-g", suffix=".cc") if n.endswith("1fEi") or n.endswith("1fEd")} == {
        "_ZN1a1fEi",
        "_ZN1b1fEd",
    }
    both = 'extern "C" int g(int); namespace a { extern "C" int g(int x) { return x; } }'
    assert "g" in told(both, "-g", suffix=".cc")


def test_what_gcc_calls_by_itself_is_known() -> None:
    found = told("int x;", "-g0")
    assert {n: register_names(p.reads or 0) for n, p in found.items()} == {
        **{n: ("rdx", "rsi", "rdi") for n in ("memcpy", "memmove", "memset", "memcmp")},
        "__stack_chk_fail": (), "abort": (), "__tls_get_addr": ("rdi",),
    }  # fmt: skip
    assert all(p.returns == RETURN_REGISTERS for p in found.values())
    own = told("void *memcpy(void *d, const void *s, unsigned long n, int more) { return d; }", "-g", "-ffreestanding")
    assert register_names(own["memcpy"].reads or 0) == ("rdx", "rsi", "rdi")


def test_a_class_is_passed_where_nobody_tells() -> None:
    found = told('class K { int x; public: K(int); }; extern "C" void f(K k) { __builtin_trap(); }', "-g", suffix=".cc")
    assert found["f"].reads is None
