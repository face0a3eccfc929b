"""Old against new machine code of replaced functions, as a unified diff of assembly with names instead of addresses."""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterator, Mapping
from pathlib import Path

import capstone

from suture.elf.file import ElfFile
from suture.error import ExitCode, NotFound, SutureError
from suture.match.run import Run
from suture.number import Vaddr
from suture.patch.file import PatchFile
from suture.patch.manifest import ReplacedFunction, SymbolKind

_RIP = re.compile(r"(-?(?:0x)?[0-9a-f]*)\(%rip\)")
_ADDRESS = re.compile(r"(?<![\w$])0x[0-9a-f]+")


class WrongBinary(SutureError):
    """The given binary is not the patch's target."""

    exit_code = ExitCode.WRONG_TARGET


def compare(patch: PatchFile, function: str, binary: Path | None) -> Iterator[str]:
    """Lines of the comparison of one function, or of all for `*`.

    Raises `NotFound` for a function that the patch does not replace, `WrongBinary` for a foreign binary, and what the
    archive raises.
    """
    rows = [f for f in patch.manifest.functions if function in ("*", f.name)]
    if not rows:
        known = ", ".join(f.name for f in patch.manifest.functions)
        raise NotFound(f"{patch.manifest.name} does not replace {function}", f"it replaces: {known}")
    run = Run(ElfFile.read(binary or _from_archive(patch)))
    if run.elf.build_id != patch.manifest.target.build_id:
        raise WrongBinary(
            f"{binary}: build-id {run.elf.build_id} is not the patch's {patch.manifest.target.build_id}",
            "give the binary that the patch is for, or leave --binary out to fetch it",
        )
    names = _image_names(patch, run)
    for row in rows:
        old = list(_old(run, row, names))
        new = list(_new(patch, row))
        yield from difflib.unified_diff(old, new, f"old {row.name}", f"new {row.name}", lineterm="", n=4)


def _from_archive(patch: PatchFile) -> Path:
    from suture.source.archive import archive_for

    target = patch.manifest.target
    if any(patch.manifest.request.get("tree", ())):
        raise NotFound(
            f"{patch.manifest.name} was made from a tree of one's own, so the archive has no {target.file} of it",
            "give the binary that was built from it with --binary FILE",
        )
    root = archive_for(target.source, target.version).binary(target.package, target.version)
    found = [p for p in root.rglob(target.file) if p.is_file() and not p.is_symlink()]
    if not found:
        raise NotFound(
            f"{target.package} {target.version} holds no {target.file}", "give the binary with --binary FILE"
        )
    return found[0]


def _image_names(patch: PatchFile, run: Run) -> dict[Vaddr, str]:
    names = {
        s.address: n
        for n, s in patch.manifest.symbols.items()
        if s.kind is SymbolKind.IMAGE and not n.startswith(".run")
    }
    for entry, slot in run.plt.items():
        if run.slots[slot].symbol:
            names.setdefault(entry, run.slots[slot].symbol + "@plt")
    for name, exports in run.exports.items():
        names.setdefault(Vaddr(exports[0].st_value), name)
    return names


def _engine() -> capstone.Cs:
    engine = capstone.Cs(capstone.CS_ARCH_X86, capstone.CS_MODE_64)
    engine.syntax = capstone.CS_OPT_SYNTAX_ATT
    return engine


def _old(run: Run, row: ReplacedFunction, names: Mapping[Vaddr, str]) -> Iterator[str]:
    code = run.code_at(row.address, row.size)
    if code is None:
        return
    for address, size, mnemonic, operands in _engine().disasm_lite(code, row.address):
        place = _RIP.search(operands)
        if place is not None:
            target = address + size + int(place[1] or "0", 16)
            slot = run.slots.get(target)
            name = f"{slot.symbol}@got" if slot is not None and slot.symbol else names.get(target, "data")
            yield f"{mnemonic} {_RIP.sub(name + '(%rip)', operands)}"
        else:
            yield f"{mnemonic} {_plain(operands, row.address, row.size, names)}".strip()


def _new(patch: PatchFile, row: ReplacedFunction) -> Iterator[str]:
    symbol = patch.symbol(row.new)
    section = patch.object.sections[symbol.st_shndx]
    code = patch.object.bytes_of(section)[symbol.st_value : symbol.st_value + symbol.st_size]
    targets = {}
    for rel in patch.object.relocations_by_section.get(section.index, ()):
        if symbol.st_value <= rel.r_offset < symbol.st_value + symbol.st_size:
            other = patch.object.symbols[rel.symbol]
            targets[rel.r_offset - symbol.st_value] = (
                "data" if other.has_section and not other.is_function else other.name
            )
    for address, size, mnemonic, operands in _engine().disasm_lite(code, 0):
        hit = next((targets[o] for o in range(address, address + size) if o in targets), None)
        if hit is None:
            yield f"{mnemonic} {_plain(operands, 0, symbol.st_size, {})}".strip()
        elif "(%rip)" in operands:
            yield f"{mnemonic} {_RIP.sub(hit + '(%rip)', operands)}"
        else:
            yield f"{mnemonic} {hit}"


def _plain(operands: str, start: int, size: int, names: Mapping[Vaddr, str]) -> str:
    """Operands with addresses named; a place in the function itself is `here`, so that moved code does not differ."""

    def named(found: re.Match[str]) -> str:
        address = Vaddr(int(found[0], 16))
        return names.get(address) or ("here" if start <= address < start + size else found[0])

    return _ADDRESS.sub(named, operands) if _ADDRESS.fullmatch(operands) else operands
