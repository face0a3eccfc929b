"""On archive packages: a unit compiled with the archive's flags is in the shipped binary, once, at its exported
addresses.

The judge is a masked search over pyelftools' view of both files, written here apart from `suture.match`.
"""

from __future__ import annotations

import re
import subprocess
import sys
import threading
from functools import cache
from pathlib import Path

import pytest
from elftools.elf.elffile import ELFFile

from suture.compile.preparation import prepare
from suture.compile.tree import Tree
from suture.compile.unit import Variant
from suture.source.archive import Archive, SourceVersion, archive_for
from tests.rooms import CASES

pytestmark = pytest.mark.archive


@cache
def ready(spec: str) -> tuple[Archive, SourceVersion, Tree]:
    name, _, version = spec.partition("=")
    archive = archive_for(name, version)
    source = archive.source(name, version)
    return archive, source, prepare(source)


@pytest.mark.parametrize(("spec", "source"), [(spec, source) for spec, sources in CASES for source in sources])
def test_a_plain_object_is_in_the_shipped_binary_once(spec: str, source: str) -> None:
    archive, _, tree = ready(spec)
    pairs = [(u, b) for b in tree.binaries for u in tree.units if u.object in b.objects and u.source == source]
    assert pairs
    for unit, binary in pairs:
        run = archive.binary(binary.package, tree.version) / binary.file
        made = tree.compile([(unit, Variant.PLAIN)])[0].path
        hits, agreed, contradicted = search(made, run)
        assert (len(hits), contradicted) == (1, 0), f"{unit.object} in {binary.file}: {hits}"
        assert agreed or source in {"stdlib/qsort.c"}


def search(made: Path, run: Path) -> tuple[list[int], int, int]:
    """Addresses at which .text of an object lies in a binary; exported functions that agree and that do not."""
    with made.open("rb") as one, run.open("rb") as other:
        new, old = ELFFile(one), ELFFile(other)
        data, mask = new.get_section_by_name(".text").data(), bytearray()
        mask = bytearray(len(data))
        for entry in new.get_section_by_name(".rela.text").iter_relocations():
            start, kind = entry["r_offset"], entry["r_info_type"]
            before = {41: 2, 42: 3}.get(kind, 0)
            mask[start - before : start + (8 if kind == 1 else 4)] = b"\1" * (before + (8 if kind == 1 else 4))
        pattern = b"".join(b"." if m else re.escape(data[i : i + 1]) for i, m in enumerate(mask))
        text = old.get_section_by_name(".text")
        hits = [text["sh_addr"] + m.start() for m in re.finditer(pattern, text.data(), re.DOTALL)]
        exported: dict[str, set[int]] = {}
        for symbol in old.get_section_by_name(".dynsym").iter_symbols():
            if symbol["st_shndx"] != "SHN_UNDEF":
                exported.setdefault(symbol.name, set()).add(symbol["st_value"])
        index = new.get_section_index(".text")
        functions = [
            s
            for s in new.get_section_by_name(".symtab").iter_symbols()
            if s["st_shndx"] == index and s.name in exported
        ]
        right = (
            sum(hits[0] + s["st_value"] in exported[s.name] for s in functions if s["st_info"]["type"] == "STT_FUNC")
            if hits
            else 0
        )
        all_of_them = sum(s["st_info"]["type"] == "STT_FUNC" for s in functions)
        return hits, right, all_of_them - right


def test_a_warm_tree_opens_within_a_tenth_of_a_second_and_asks_no_other_program(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    _, source, tree = ready(CASES[0][0])
    monkeypatch.setenv("PATH", "/nonexistent")
    assert prepare(source).key == tree.key


def test_a_header_of_openssl_affects_the_units_that_include_it(tmp_path: Path) -> None:
    _, _, tree = ready(CASES[0][0])
    units = {u.source for u in tree.units_of("crypto/cms/cms_local.h")}
    assert "crypto/cms/cms_pwri.c" in units
    assert not any(u.startswith("ssl/") for u in units)


def test_two_makes_at_once_get_the_same_tree_and_objects() -> None:
    spec = "zlib=1:1.2.13.dfsg-1"
    _, _, tree = ready(spec)
    program = (
        "from suture.source.archive import archive_for; from suture.compile.preparation import prepare; from "
        "suture.compile.unit import Variant\ntree = prepare(archive_for('zlib', '1:1.2.13.dfsg-1').source('zlib', "
        "'1:1.2.13.dfsg-1'))\nprint(tree.key, [o.path.name for o in tree.compile([(u, Variant.COMPARE) for u in "
        "tree.units[:4]])])\n"
    )
    said: list[str] = []

    def one() -> None:
        said.append(subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True).stdout)

    threads = [threading.Thread(target=one) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert said[0] == said[1] and tree.key in said[0]


def test_no_mount_outlives_a_compilation() -> None:
    _, _, tree = ready("zlib=1:1.2.13.dfsg-1")
    tree.compile([(tree.units[0], Variant.SECTIONS)])
    assert "suture" not in "".join(
        line for line in Path("/proc/self/mounts").read_text().splitlines() if "/run/" in line
    )
