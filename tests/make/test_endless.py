"""Functions that never return, told from the code that gcc makes of them."""

from __future__ import annotations

import subprocess

import pytest

from suture.elf.file import ElfFile
from suture.make.endless import never_returns

SOURCE = """
extern int step(int); extern void stop(void) __attribute__((noreturn)); extern int (*table[])(int);
void loop(void) { for (;;) step(1); }
void loop_with_switch(int x) { for (;;) { switch (step(x)) { case 0: step(10); break; case 1: step(21); break;
    case 2: step(32); break;
  case 3: step(43); break; case 4: step(54); break; case 5: x = step(65); break; } } }
int counts(int n) { int s = 0; for (int i = 0; i < n; i++) s += step(i); return s; }
void ends(int x) { step(x); stop(); }
int hands_on(int x) { while (step(x) > 3) x++; return table[x](x); }
void loop_or_end(void) { while (step(1)); }
"""


@pytest.fixture(scope="module")
def functions(tmp_path_factory: pytest.TempPathFactory) -> dict[str, tuple[int, bytes]]:
    folder = tmp_path_factory.mktemp("endless")
    (folder / "a.c").write_text(SOURCE)
    subprocess.run(["gcc", "-O2", "-c", "-fcf-protection=none", "-o", folder / "a.o", folder / "a.c"], check=True)
    elf = ElfFile.read(folder / "a.o")
    found = {}
    for s in elf.symbols:
        if s.has_section and s.st_size:
            at = elf.sections[s.st_shndx].sh_offset + s.st_value
            found[s.name] = (s.st_value, (folder / "a.o").read_bytes()[at : at + s.st_size])
    return found


@pytest.mark.parametrize(
    ("name", "has_switch", "expected"),
    [
        ("loop", False, True),
        ("loop_with_switch", True, True),
        ("counts", False, False),
        ("ends", False, False),
        ("hands_on", False, False),
        ("loop_or_end", False, False),
    ],
)
def test_main_loops_are_told_from_functions_that_end(
    functions: dict[str, tuple[int, bytes]], name: str, has_switch: bool, expected: bool
) -> None:
    assert never_returns([functions[name]], has_switch) is expected


NOP, JUMP_BACK, RETURN = b"\x90", b"\xeb\xfe", b"\xc3"


def loops(*bodies: tuple[int, str], has_switch: bool = False) -> bool:
    return never_returns([(address, bytes.fromhex(code)) for address, code in bodies], has_switch)


def test_a_jump_back_makes_a_loop_and_one_forward_does_not() -> None:
    assert loops((0x1000, "ebfe"))
    assert loops((0x1000, "90ebfd"))
    assert not loops((0x1000, "eb0090"))
    assert not loops((0x1000, "90"))
    assert loops((0x1000, "7400ebfe"))
    assert loops((0x1000, "ebfe7400f4"))  # one jump back is enough, whatever follows


def test_a_jump_out_of_the_function_ends_it_and_one_into_its_other_part_does_not() -> None:
    assert not loops((0x1000, "ebfd"))
    assert not loops((0x1000, "eb01"))
    assert loops((0x1000, "e9fb0f0000"), (0x2000, "e9fbefffff"))
    assert not loops((0x1000, "e9fb0f0000"))


def test_any_kind_of_return_ends_it() -> None:
    for end in ("c3", "c20800", "f3c3", "48cf", "cb"):
        assert not loops((0x1000, end + "ebfe")), end


def test_an_indirect_jump_is_a_switch_or_the_end() -> None:
    for code in ("ffe0", "3effe0", "ff20"):
        assert not loops((0x1000, code + "ebfe"))
        assert loops((0x1000, code + "ebfe"), has_switch=True)


def test_what_does_not_decode_may_do_anything() -> None:
    assert not loops((0x1000, "ebfe06"))
    assert not loops((0x1000, "ebfe"), (0x2000, "06"))
