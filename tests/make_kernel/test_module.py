"""Livepatch's relocation sections, judged by readelf."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from suture.elf.abi import R, SectionFlag, SymbolBind, SymbolType
from suture.elf.object_writer import NewRelocation, NewSection, NewSymbol, write_object
from suture.kernel.manifest import SECTION
from suture.make_kernel.module import ModuleFailed, finish
from suture.number import SectionOffset

_SYMBOL = ".klp.sym.vmlinux.hidden,2"


def module(symbol: str = "kfree") -> bytes:
    text = NewSection(
        ".text",
        SectionFlag.ALLOC | SectionFlag.EXECINSTR,
        bytes(32),
        16,
        relocations=[
            NewRelocation(SectionOffset(1), R.PLT32, symbol, -4),
            NewRelocation(SectionOffset(9), R.PC32, _SYMBOL, -4),
        ],
    )
    own = NewSymbol("f", ".text", SectionOffset(0), 32, SymbolType.FUNC)
    return write_object([text], [own, NewSymbol(symbol, None, bind=SymbolBind.GLOBAL), NewSymbol(_SYMBOL, None)])


def readelf(tmp_path: Path, data: bytes, *options: str) -> str:
    path = tmp_path / "module.ko"
    path.write_bytes(data)
    return subprocess.run(["readelf", "--wide", *options, str(path)], check=True, capture_output=True, text=True).stdout


def test_relocations_of_livepatch_symbols_move_to_their_own_section(tmp_path: Path) -> None:
    data = finish(module(), b"{}", frozenset({"kfree"}))
    said = readelf(tmp_path, data, "--relocs")
    before, after = said.split("'.klp.rela.vmlinux..text'")
    assert "kfree" in before and _SYMBOL not in before
    assert _SYMBOL in after and "kfree" not in after


def test_a_symbol_of_another_module_is_filled_in_with_the_object_that_uses_it(tmp_path: Path) -> None:
    # a relocation section of an object that the patch does not patch is passed over by the kernel, in silence
    text = NewSection(
        ".text",
        SectionFlag.ALLOC | SectionFlag.EXECINSTR,
        bytes(32),
        16,
        relocations=[NewRelocation(SectionOffset(1), R.PLT32, "fou:.klp.sym.udp_tunnel.udp_sock_create4,0", -4)],
    )
    symbols = [
        NewSymbol("f", ".text", SectionOffset(0), 32, SymbolType.FUNC),
        NewSymbol("fou:.klp.sym.udp_tunnel.udp_sock_create4,0", None),
    ]
    said = readelf(tmp_path, finish(write_object([text], symbols), b"{}", frozenset()), "--relocs", "--symbols")
    assert "'.klp.rela.fou..text'" in said and "klp.rela.udp_tunnel" not in said and "fou:" not in said
    assert "0 .klp.sym.udp_tunnel.udp_sock_create4,0 - 4" in said


def test_the_section_is_marked_and_the_symbol_is_livepatchs_own(tmp_path: Path) -> None:
    data = finish(module(), b"{}", frozenset({"kfree"}))
    sections = readelf(tmp_path, data, "--sections")
    row = next(x for x in sections.splitlines() if ".klp.rela.vmlinux" in x)
    assert " Ao " in row or "Ao" in row.split()  # ALLOC and the OS-specific bit
    symbols = readelf(tmp_path, data, "--symbols")
    assert next(x for x in symbols.splitlines() if _SYMBOL in x).split()[6:8] == ["OS", "[0xff20]"]


def test_the_manifest_is_not_loaded(tmp_path: Path) -> None:
    data = finish(module(), b'{"a":1}', frozenset({"kfree"}))
    row = next(x for x in readelf(tmp_path, data, "--sections").splitlines() if SECTION in x)
    assert "000007" in row and " A " not in row


def test_a_symbol_that_nothing_exports_is_a_failure() -> None:
    with pytest.raises(ModuleFailed, match="secret"):
        finish(module("secret"), b"{}", frozenset({"kfree"}))
