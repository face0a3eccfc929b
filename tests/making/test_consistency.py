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
    """The caller is replaced too, so that a strict patch is right; its old frame would call the new code all the same."""
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
