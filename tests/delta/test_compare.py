"""Which of two differences counts, and what a comparison sees."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from suture.delta.atom import AtomKind, AtomObject
from suture.delta.compare import Difference, difference, reconciled
from suture.delta.correlation import pair_atoms
from suture.elf.file import ElfFile

NONE: frozenset[str] = frozenset()


def compiled(folder: Path, text: str, *flags: str) -> AtomObject:
    folder.mkdir(exist_ok=True)
    (folder / "a.c").write_text(text)
    subprocess.run(
        ["gcc", "-O2", "-ffunction-sections", "-fdata-sections", *flags, "-c", "a.c", "-o", "a.o"],
        check=True,
        cwd=folder,
    )
    return AtomObject(ElfFile.read(folder / "a.o"))


def test_noise_is_left_out_when_the_names_agree() -> None:
    quiet = Difference(frozenset({"f"}), NONE, NONE, NONE, NONE)
    full = Difference(frozenset({"f", "g"}), NONE, NONE, NONE, NONE)
    assert reconciled(quiet, full) is quiet


@pytest.mark.parametrize("field", ["changed", "new", "gone", "changed_variables", "changed_constants"])
def test_a_name_that_the_patched_objects_do_not_have_makes_theirs_count(field: str) -> None:
    quiet = Difference(**{**dict.fromkeys(Difference.__dataclass_fields__, NONE), field: frozenset({"f.constprop.0"})})
    full = Difference(frozenset({"f", "g"}), NONE, NONE, NONE, NONE)
    assert reconciled(quiet, full) is full


@pytest.mark.parametrize("pic", ["-fPIC", "-fno-pie"])
def test_a_changed_string_behind_a_constant_with_an_address_is_a_change(tmp_path: Path, pic: str) -> None:
    text = """
void use(const char **);
void f(void) { const char *w[] = {"eeeee", "ffffff", "ggggggg", "hhhhhhhh"}; use(w); }
"""
    pre, post = (
        compiled(tmp_path / "pre", text, pic),
        compiled(tmp_path / "post", text.replace("ffffff", "FFFFFF"), pic),
    )
    assert difference(pre, post).changed == {"f"}
    assert difference(pre, compiled(tmp_path / "same", "\n" + text, pic)).is_empty


def test_a_call_of_a_local_function_is_told_from_its_address(tmp_path: Path) -> None:
    obj = compiled(
        tmp_path / "a",
        '__attribute__((noinline)) static long l(long x) { __asm__(""); return x * 3; }\nlong (*volatile p)(long);\nlong f(long x) { p = l; return l(x) + 1; }\n',
        "-fPIC",
    )
    code = obj.functions["f"].hot
    refs = [r for r in code.references if r.section == obj.functions["l"].hot.index]
    assert sorted(code.is_branch(r) for r in refs) == [False, True]
    listing = subprocess.run(
        ["objdump", "-drw", str(tmp_path / "a" / "a.o")], check=True, capture_output=True, text=True
    ).stdout
    assert (
        sum(
            ("call" in line and ".text.l" in line) or ("call" in line and "\tl-" in line)
            for line in listing.splitlines()
        )
        == 1
    )


def test_static_locals_of_different_functions_never_pair(tmp_path: Path) -> None:
    pre = compiled(
        tmp_path / "pre", "long f(long x) { static long n = 1; return n += x; }\nlong g(long x) { return x; }\n"
    )
    post = compiled(
        tmp_path / "post", "long f(long x) { return x; }\nlong g(long x) { static long n = 1; return n += x; }\n"
    )
    pairs = pair_atoms(pre, post)
    new = next(a for a in post.atoms.values() if a.kind is AtomKind.DATA)
    assert new.index not in pairs.pre_of and new.index in pairs.ambiguous


def test_static_locals_of_one_name_pair_by_the_place_that_unchanged_code_has_for_them(tmp_path: Path) -> None:
    twice = (
        "long f(long x) { if (x > 5) { static long n; n += x; } if (x > 9) { static long n; n -= x * 3; } return x; }\n"
    )
    pre = compiled(tmp_path / "pre", twice + "long g(long x) { return x; }\n")
    post = compiled(tmp_path / "post", twice + "long g(long x) { return x + 1; }\n")
    pairs = pair_atoms(pre, post)
    state = [a.index for a in post.atoms.values() if a.kind is AtomKind.BSS]
    assert len(state) == 2 and not pairs.ambiguous
    assert [pre.atoms[pairs.pre_of[i]].label for i in state] == [post.atoms[i].label for i in state]
    changed = compiled(tmp_path / "changed", twice.replace("* 3", "* 5") + "long g(long x) { return x; }\n")
    state = [a.index for a in changed.atoms.values() if a.kind is AtomKind.BSS]
    assert pair_atoms(pre, changed).ambiguous == set(state)
