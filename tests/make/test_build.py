"""From changes to a patch with its manifest and verdict: each fact in it is checked against the shipped binary and
`nm`."""

from __future__ import annotations

import hashlib
import subprocess
from typing import Any

from suture.delta.line import line_of
from suture.elf.file import ElfFile
from suture.make.build import build
from suture.match.run import Run
from suture.number import BuildId
from suture.patch.file import parse_patch
from suture.patch.manifest import RefusedFunction, Target
from suture.patch.x86_64 import JUMP_SIZE

SOURCE = """
#include <stdlib.h>
static long state = 4;
__attribute__((noinline)) static long low(long x) { long r = state; while (x-- > 0) r = r * 7 + x; return r; }
long f(long x) { return low(x) + 1; }
long g(long x) { state++; return labs(x) * 3 + state; }
long h(long x) { return x - 9; }
"""


def built_of(made: Any, *refused: RefusedFunction) -> Any:
    run = Run.read(made.shipped)
    target = Target(run.elf.build_id or BuildId(""), "shipped", "p", "p", "1", "x86_64")
    return build(
        "p-1", target, made.changes(), run, [], made.elsewhere, {"compiler": "gcc"}, {"source": ("p=1",)}, refused
    )


def test_each_replaced_function_has_place_size_and_hash_of_the_shipped_bytes(package: Any) -> None:
    made = package(SOURCE, SOURCE.replace("r * 7", "r * 9").replace("* 3", "* 4"), "f g h")
    manifest, nm, elf = made.patch().manifest, made.symbols(), ElfFile.read(made.shipped)
    assert {f.name for f in manifest.functions} == {"low", "g"}
    for f in manifest.functions:
        assert (f.address, f.size) == nm[f.name]
        assert f.sha256 == hashlib.sha256(elf.read_at(f.address, f.size)).hexdigest()
        assert f.displaced >= JUMP_SIZE and f.entry + f.displaced <= f.size
        code = elf.read_at(f.address, 4)
        assert f.entry == (4 if code == bytes.fromhex("f30f1efa") else 0)


def test_displaced_bytes_are_whole_instructions(package: Any) -> None:
    made = package(SOURCE, SOURCE.replace("r * 7", "r * 9").replace("* 3", "* 4"), "f g h")
    out = subprocess.run(["objdump", "-d", made.unstripped], capture_output=True, text=True, check=True).stdout
    starts = {int(r.split(":")[0], 16) for r in out.splitlines() if r.startswith(" ") and ":\t" in r}
    for f in made.patch().manifest.functions:
        assert f.address + f.entry + f.displaced in starts


def test_the_request_the_toolchain_and_what_was_refused_before_are_kept(package: Any) -> None:
    made = package(SOURCE, SOURCE.replace("* 3", "* 4"), "f g h")
    before = RefusedFunction("", "z.S", 0, "assembly", "restart")
    manifest = built_of(made, before).manifest
    assert manifest.request == {"source": ("p=1",)} and manifest.toolchain == {"compiler": "gcc"}
    assert manifest.verdict.refused == (before,) and not manifest.verdict.safe
    assert built_of(made).manifest.verdict.safe


def test_a_refusal_names_file_line_reason_and_remedy(package: Any) -> None:
    fixed = SOURCE.replace("state = 4", "state = 5").replace("x - 9", "x - 8")
    made = package(SOURCE, fixed, "f g h")
    built = built_of(made)
    assert {f.name for f in built.manifest.functions} == {"h"}
    (row,) = (r for r in built.refused if r.function == "state")
    assert (row.file, row.line) == ("a.c", line_of(made.atoms("post", "a.c").elf, "state")) and row.line > 0
    assert row.reason and row.remedy


def test_nothing_that_can_go_in_makes_no_patch_and_says_why(package: Any) -> None:
    made = package(SOURCE, SOURCE.replace("state = 4", "state = 5"), "f g h")
    built = built_of(made)
    assert built.data is None and built.manifest is None and [r.function for r in built.refused] == ["state"]


def test_units_are_taken_in_the_order_of_their_names_whatever_order_they_come_in(package: Any) -> None:
    sources = {"a.c": SOURCE, "b.c": "long other(long x) { return x * 11 + 5; }\n"}
    fix = {"a.c": SOURCE.replace("* 3", "* 4"), "b.c": sources["b.c"].replace("* 11", "* 12")}
    made = package(sources, fix, "f other")
    run, changes = Run.read(made.shipped), made.changes()
    target = Target(run.elf.build_id or BuildId(""), "shipped", "p", "p", "1", "x86_64")
    both = [build("p", target, c, run, [], made.elsewhere, {}, {}).data for c in (changes, changes[::-1])]
    assert len(changes) == 2 and both[0] == both[1]


def test_every_undefined_symbol_is_resolved_by_the_manifest_and_no_other(package: Any) -> None:
    made = package(SOURCE, SOURCE.replace("r * 7", "r * 9").replace("labs(x) * 3", 'atol("5") * labs(x)'), "f g h")
    patch = parse_patch(made.build().data, "p")
    undefined = {s.name for s in patch.object.symbols if s.name and not s.is_defined}
    assert undefined == set(patch.manifest.symbols) and "state" in undefined


def test_the_proof_names_the_unit_its_sections_and_the_places_of_each_address(package: Any) -> None:
    made = package(SOURCE, SOURCE.replace("* 3", "* 4"), "f g h")
    manifest = made.patch().manifest
    (unit,) = manifest.proof.units
    assert unit.source == "a.c" and unit.whole and {"f", "g", "h"} <= set(unit.agreed_symbols)
    (state,) = (s for s in manifest.proof.symbols if s.name == "state")
    assert (
        state.address == made.symbols()["state"][0] and all("a.c" in p for p in state.implied_by) and state.implied_by
    )
