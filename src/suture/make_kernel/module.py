"""The module file: linked by kbuild, then given livepatch's relocation sections and the manifest.

Source of the format: Documentation/livepatch/module-elf-format.rst of Linux 6.1.
"""

from __future__ import annotations

import struct
from collections.abc import Mapping
from pathlib import Path

from suture.compile.room import INSIDE
from suture.elf.abi import SectionType
from suture.elf.file import ElfFile
from suture.error import SutureError
from suture.make_kernel.prepare import KernelTree
from suture.make_kernel.stub import makefile
from suture.source import cache

MANIFEST = ".suture.manifest"
PLACE = "/build/reproducible-path/livepatch"
_SHF_RELA_LIVEPATCH, _SHN_LIVEPATCH = 0x00100000, 0xFF20
_LIVEPATCHED = ".klp.sym."
_EHDR, _SHDR, _SYM = struct.Struct("<16sHHIQQQIHHHHHH"), struct.Struct("<IIQQQQIIQQ"), struct.Struct("<IBBHQQ")


class ModuleFailed(SutureError):
    """kbuild made a module that is not what was asked for."""


def link(tree: KernelTree, name: str, main: str, patch: bytes, callbacks: str = "") -> bytes:
    """The module as kbuild makes it out of the stub, the object of new code and a callbacks file; without debug
    information."""

    def work(folder: Path) -> bytes:
        (folder / "main.c").write_text(main)
        (folder / "patch.o_shipped").write_bytes(patch)
        (folder / ".patch.o.cmd").write_text("")
        (folder / "Makefile").write_text(makefile(name, bool(callbacks)))
        if callbacks:
            (folder / "callbacks.c").write_text(callbacks)
        script = (
            f"mkdir -p {PLACE}; cp -r {INSIDE}/module/. {PLACE}; \n"
            f"if ! {tree.make_unit} KBUILD_MODPOST_WARN=1 M={PLACE} modules >{PLACE}/log 2>&1; then cat {PLACE}/log "
            f">&2; exit 1; fi\nstrip --strip-debug -o {INSIDE}/module/out.ko {PLACE}/{name}.ko\n"
        )
        tree.room.enter(script, outputs=[(folder, f"{INSIDE}/module")])
        return (folder / "out.ko").read_bytes()

    return cache.scratch(cache.root() / "run", work)


def finish(data: bytes, manifest: bytes, allowed: frozenset[str]) -> bytes:
    """Move relocations against `.klp.sym.*` into `.klp.rela.OBJECT.SECTION`, and add the manifest.

    OBJECT is the one whose code holds the reference: the kernel applies the section when it patches that object.
    References to symbols of vmlinux are all applied at once. Where it is not the symbol's own object, the symbol comes
    as `OBJECT:.klp.sym.*`. Raises `ModuleFailed` when a symbol is undefined that is neither one of those nor in
    `allowed`.
    """
    elf = ElfFile(data, "the linked module")
    contents = [elf.bytes_of(s) for s in elf.sections]
    headers = [
        [s.sh_type, s.sh_flags, s.sh_link, s.sh_info, s.sh_addralign, s.sh_entsize, s.sh_size] for s in elf.sections
    ]
    names = [s.name for s in elf.sections]
    table = next(s for s in elf.sections if s.sh_type == SectionType.SYMTAB)
    raw = bytearray(contents[table.index])
    objects: dict[int, str] = {}
    for symbol in elf.symbols:
        if symbol.is_defined or not symbol.name:
            continue
        user, mark, own = symbol.name.rpartition(_LIVEPATCHED)
        if mark:
            objects[symbol.index] = user.removesuffix(":") or own.split(".")[0]
            row = list(_SYM.unpack_from(raw, symbol.index * 24))
            row[0] += len(user)
            row[3] = _SHN_LIVEPATCH
            _SYM.pack_into(raw, symbol.index * 24, *row)
        elif symbol.name not in allowed:
            raise ModuleFailed(f"the module needs {symbol.name}, which nothing exports", "report this fix")
    contents[table.index] = bytes(raw)
    for section in elf.sections:
        if section.sh_type != SectionType.RELA:
            continue
        kept, moved = _split(contents[section.index], objects)
        contents[section.index] = kept
        headers[section.index][6] = len(kept)
        for owner, rows in moved.items():
            names.append(f".klp.rela.{owner}.{elf.sections[section.sh_info].name}")
            flags = _SHF_RELA_LIVEPATCH | 2
            headers.append([SectionType.RELA, flags, table.index, section.sh_info, 8, 24, len(rows)])
            contents.append(rows)
    names.append(MANIFEST)
    headers.append([SectionType.PROGBITS, 0, 0, 0, 1, 0, len(manifest)])
    contents.append(manifest)
    return _written(elf, names, headers, contents)


def _split(rows: bytes, objects: Mapping[int, str]) -> tuple[bytes, dict[str, bytes]]:
    kept, moved = bytearray(), dict[str, bytearray]()
    for at in range(0, len(rows), 24):
        symbol = struct.unpack_from("<Q", rows, at + 8)[0] >> 32
        place = moved.setdefault(objects[symbol], bytearray()) if symbol in objects else kept
        place += rows[at : at + 24]
    return bytes(kept), {o: bytes(r) for o, r in moved.items()}


def _written(elf: ElfFile, names: list[str], headers: list[list[int]], contents: list[bytes]) -> bytes:
    text = bytearray(b"\0")
    at = []
    strings = next(s.index for s in elf.sections if s.name == ".shstrtab")
    for name in names:
        at.append(len(text) if name else 0)
        if name:
            text += name.encode() + b"\0"
    contents[strings], headers[strings][6] = bytes(text), len(text)
    out, table = bytearray(_EHDR.size), bytearray()
    for offset, header, data in zip(at, headers, contents, strict=True):
        kind, flags, link_, info, align, entsize, size = header
        if kind != SectionType.NULL:
            out += bytes(-len(out) % max(align, 1))
        table += _SHDR.pack(offset, kind, flags, 0, len(out) if kind else 0, size, link_, info, align, entsize)
        if kind != SectionType.NOBITS:
            out += data
    out += bytes(-len(out) % 8)
    head = list(_EHDR.unpack_from(elf.data))
    head[6], head[12], head[13] = len(out), len(names), strings
    out[: _EHDR.size] = _EHDR.pack(*head)
    return bytes(out + table)
