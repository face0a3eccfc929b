"""Strict unless a reason for relaxed is given; functions that never return are named in the verdict."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from suture.cli import main
from suture.error import ExitCode
from suture.patch.consistency import Consistency

SOURCE = """
extern int usleep(unsigned);
static volatile long turns;
__attribute__((noinline)) static void serve(long x) { for (;;) { turns += x; usleep(1000); } }
long f(long x) { if (x > 77) serve(x); return x + 1; }
long g(long x) { return x * 3 + turns; }
"""
FIX = ("usleep(1000)", "usleep(2000)")


def test_a_patch_is_strict_and_says_which_functions_never_return(package: Any) -> None:
    patch = package(SOURCE, FIX, "f g", "library").patch()
    (function,) = patch.manifest.functions
    assert (function.name, function.consistency, function.endless) == ("serve", Consistency.STRICT, True)
    assert patch.manifest.relaxed == ""
    (note,) = patch.manifest.verdict.notes
    assert "serve never returns" in note and "--relaxed" in note


@pytest.mark.parametrize("relaxed", [(), ("it only sleeps longer",)], ids=("strict", "relaxed"))
def test_a_dry_run_says_of_them_what_make_said(
    package: Any, tmp_path: Path, relaxed: tuple[str, ...], capsys: pytest.CaptureFixture[str]
) -> None:
    made = package(SOURCE, FIX, "f g", "library")
    made.request = {"relaxed": relaxed} if relaxed else {}
    patch = made.patch()
    path = tmp_path / "made.suture.o"
    path.write_bytes(patch.object.data)
    (note,) = patch.manifest.verdict.notes
    assert main.main(["apply", str(path), "--dry-run"]) == ExitCode.OK
    assert f"note: {note}\n" in capsys.readouterr().out
    assert main.main(["apply", str(path), "--dry-run", "--json"]) == ExitCode.OK
    assert json.loads(capsys.readouterr().out)["notes"] == [note]


def test_the_reason_for_relaxed_is_kept_and_holds_for_all_functions(package: Any) -> None:
    made = package(SOURCE, FIX, "f g", "library")
    made.request = {"relaxed": ("it only sleeps longer",)}
    patch = made.patch()
    assert patch.manifest.relaxed == "it only sleeps longer"
    assert {f.consistency for f in patch.manifest.functions} == {Consistency.RELAXED}
    assert "stays in old code" in patch.manifest.verdict.notes[0]


def test_a_function_that_ends_is_not_called_endless(package: Any) -> None:
    patch = package(SOURCE, ("x * 3", "x * 5"), "f g", "library").patch()
    assert [(f.name, f.endless) for f in patch.manifest.functions] == [("g", False)]
    assert patch.manifest.verdict.notes == ()


KEEPS = """
extern int usleep(unsigned);
static volatile long turns, seen;
__attribute__((noinline)) static long check(long x) { if (x > 100) return -1; seen += x; return x + 5; }
__attribute__((noinline)) static void serve(long x) { for (;;) { long a = turns * 7; turns = check(a) + a * x; } }
long f(long x) { if (x > 77) serve(x); return check(x); }
"""
REGISTERS = ("rcx", "rsi", "rdi", "r8", "r9", "r10", "r11")
CHANGES_ALL = (
    "if (x > 100)",
    'if (x > 64) __asm__ volatile("" ::: ' + ", ".join(f'"{r}"' for r in REGISTERS) + "); if (x > 90)",
)


def test_a_register_that_old_frames_keep_and_new_code_changes_refuses_a_relaxed_patch(package: Any) -> None:
    """The caller is replaced too, so that a strict patch is right; its old frame would call the new code all the
    same."""
    made = package(KEEPS, CHANGES_ALL, "f", "library")
    patch = made.patch()
    assert {f.name for f in patch.manifest.functions} >= {"check", "serve"}
    (note,) = patch.manifest.verdict.notes
    assert "serve never returns" in note and "--relaxed REASON" not in note and "restart the program" in note
    made.request = {"relaxed": ("only a check",)}
    refused = {r.function: r for r in made.refused()}
    assert "lets old frames of serve go on" in refused["check"].reason and "-fipa-ra" in refused["check"].reason
    assert "--relaxed" in refused["check"].remedy
    assert "check" in refused["serve"].reason


TAKES_ONE = """
extern int usleep(unsigned);
static volatile long turns;
__attribute__((noinline, noclone)) %s long add(long x) { turns += x; return x + 1; }
__attribute__((noinline, noclone)) static void serve(long x) { for (;;) { turns += add(x); usleep(1000); } }
long f(long x) { if (x > 77) serve(x); return add(x); }
"""


@pytest.mark.parametrize("scope", ["static", '__attribute__((visibility("hidden")))'])
def test_other_parameters_refuse_a_relaxed_patch(package: Any, scope: str) -> None:
    before = TAKES_ONE % scope
    after = (
        before.replace("add(long x)", "add(long x, long y)").replace("x + 1", "x + y").replace("add(x)", "add(x, 2)")
    )
    made = package(before, after, "f", "library")
    patch = made.patch()
    assert {f.name for f in patch.manifest.functions} == {"add", "serve", "f"}
    assert "--relaxed REASON" not in patch.manifest.verdict.notes[0]
    made.request = {"relaxed": ("it adds as before",)}
    refused = {r.function: r for r in made.refused()}
    assert "changes the parameters of add" in refused["add"].reason and "old frames" in refused["add"].reason
    assert "add" in refused["serve"].reason


CLONED = """
extern int usleep(unsigned);
static volatile long turns;
struct pair { long a, b; };
__attribute__((noinline)) static long add(struct pair *p) { turns += p->a; return turns * p->a; }
__attribute__((noinline)) static void serve(struct pair *p) { for (;;) { turns += add(p); usleep(1000); } }
long f(long x) { struct pair p = {x, 2 * x}; if (x > 77) serve(&p); return add(&p); }
"""


def test_a_clone_that_is_called_otherwise_refuses_a_relaxed_patch(package: Any) -> None:
    """The source's parameters are as before; gcc hands the clone p->b in the register that held p->a."""
    made = package(
        CLONED, ("turns += p->a; return turns * p->a", "turns += p->b; return turns * p->b + 1"), "f", "library"
    )
    patch = made.patch()
    (clone,) = [f.name for f in patch.manifest.functions if f.name.startswith("add")]
    assert clone.startswith("add.isra")
    made.request = {"relaxed": ("it adds as before",)}
    refused = {r.function: r for r in made.refused()}
    assert "a variant that gcc made for its callers" in refused[clone].reason


def test_a_relaxed_patch_goes_on_where_old_frames_call_as_before(package: Any) -> None:
    made = package(TAKES_ONE % "static", ("x + 1", "x + 3"), "f", "library")
    made.request = {"relaxed": ("it adds as before",)}
    assert {f.name for f in made.patch().manifest.functions} == {"add"}


UNALIGNED = """
extern int usleep(unsigned);
static volatile long turns;
__attribute__((noinline)) static long check(long x) { if (x > 100) return -1; turns += x; return x + 5; }
__attribute__((noinline)) static void serve(void) { for (;;) { long a = turns * 7; turns = check(a); } }
long f(long x) { if (x > 77) serve(); return check(x) + 2; }
"""


def test_an_old_frame_that_does_not_align_the_stack_for_new_code_refuses_a_relaxed_patch(package: Any) -> None:
    """The old check calls nothing, so gcc lets serve call it with a stack at 8 of 16 bytes; what usleep needs is 16."""
    made = package(UNALIGNED, ("return -1", "return usleep(3), -1"), "f", "library")
    assert {f.name for f in made.patch().manifest.functions} >= {"check", "serve"}
    made.request = {"relaxed": ("only a pause",)}
    assert "not aligned" in {r.function: r.reason for r in made.refused()}["check"]


KNOWN = """
extern int usleep(unsigned);
static volatile long turns;
static long last;
__attribute__((noinline, noclone)) static long check(long x) { %s }
__attribute__((noinline, noclone)) static long serve(long x)
{
  long sum = 0;
  for (;;) { %s if (sum > 1000) return sum; turns = sum; }
}
long f(long x) { return x > 77 ? serve(x) : check(x %s); }
void g(long x) { last = x; }
"""
PURE = KNOWN % ("return x * 7 % 31;", "long a = last; long b = check(x); sum += a + b + last;", "")
"""serve knows that check writes nothing, and reads `last` once."""
GIVEN = KNOWN % ("if (x > 50) return -5; turns++; return x * 7 % 31;", "sum += check(x);", "")


def test_what_an_old_frame_knew_of_its_callee_refuses_a_relaxed_patch(package: Any) -> None:
    made = package(PURE, ("return x * 7", "last = x; return x * 7"), "f", "library")
    assert {f.name for f in made.patch().manifest.functions} >= {"check", "serve"}, "a strict patch is right"
    made.request = {"relaxed": ("only a check",)}
    refused = {r.function: r for r in made.refused()}
    assert "what the compiler knew of the functions that they call" in refused["check"].reason
    assert "--relaxed" in refused["check"].remedy


def test_what_a_new_callee_knows_of_its_new_callers_refuses_a_relaxed_patch(package: Any) -> None:
    """With the fix all callers bring small numbers, so gcc leaves the test out of check, which old frames rely on."""
    fix = GIVEN.replace("check(x)", "check(x & 15)").replace("check(x );", "check(x & 7);")
    made = package(GIVEN, fix, "f", "library")
    assert {f.name for f in made.patch().manifest.functions} >= {"check", "serve"}
    made.request = {"relaxed": ("only a check",)}
    refused = {r.function: r for r in made.refused()}
    assert "the new check was compiled with what the compiler knew of its callers" in refused["check"].reason


def test_functions_that_know_nothing_of_one_another_may_be_relaxed(package: Any) -> None:
    """Both change, old frames of serve call the new check, and neither was compiled with what the other does."""
    source = GIVEN.replace("(x )", "(x)")
    made = package(source, source.replace("return -5", "return -6").replace("sum > 1000", "sum > 2000"), "f", "library")
    made.request = {"relaxed": ("only numbers",)}
    assert {f.name for f in made.patch().manifest.functions} >= {"check", "serve"}
