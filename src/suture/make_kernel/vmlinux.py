"""The vmlinux inside a bzImage: an ELF file with sections and without symbols.

Source of the layout: Documentation/x86/boot.rst (payload_offset, payload_length) and scripts/Makefile.lib (the
compressors append the size of the contents, four bytes, little-endian).
"""

from __future__ import annotations

import lzma
import struct
import zlib
from pathlib import Path

from suture.command import run
from suture.elf.abi import ELFMAG
from suture.error import Unsupported
from suture.source import cache

_HEADER_MAGIC = 0x202
_PROTOCOL = 0x206
_PAYLOAD = 0x248


def unpack(image: bytes, name: str) -> bytes:
    """The vmlinux of a bzImage. Raises `Unsupported` for another kind of file or an unknown compression."""
    if len(image) < 0x260 or image[_HEADER_MAGIC : _HEADER_MAGIC + 4] != b"HdrS":
        raise Unsupported(f"{name}: not a Linux x86 boot image", "give the archive's vmlinuz")
    if struct.unpack_from("<H", image, _PROTOCOL)[0] < 0x208:
        raise Unsupported(f"{name}: its boot protocol is older than 2.08", "use a kernel that is newer than 2.6.26")
    sectors = image[0x1F1] or 4
    offset, length = struct.unpack_from("<II", image, _PAYLOAD)
    start = (sectors + 1) * 512 + offset
    payload = image[start : start + length - 4]
    data = _decompress(payload, name)
    if data[:4] != ELFMAG:
        raise Unsupported(f"{name}: what is packed in it is no ELF file", "report this image")
    return data


def _decompress(payload: bytes, name: str) -> bytes:
    if payload.startswith(b"\xfd7zXZ\0"):
        return lzma.decompress(payload)
    if payload.startswith(b"\x1f\x8b"):
        return zlib.decompress(payload, 31)
    if payload.startswith(b"\x28\xb5\x2f\xfd"):
        return _by_program(payload, ["zstd", "--decompress", "--quiet", "--long=31"])
    if payload.startswith(b"\x02\x21\x4c\x18"):  # the legacy frame (lz4 -l), which the kernel's makefiles write
        return _by_program(payload, ["lz4", "-d", "--quiet"])
    raise Unsupported(f"{name}: packed in an unknown way ({payload[:4].hex()})", "xz, gzip, zstd and lz4 are known")


def _by_program(payload: bytes, command: list[str]) -> bytes:
    def unpack(folder: Path) -> bytes:
        packed, plain = folder / "packed", folder / "plain"
        packed.write_bytes(payload)
        run([*command, str(packed), "-o", str(plain)] if command[0] == "zstd" else [*command, str(packed), str(plain)])
        return plain.read_bytes()

    return cache.scratch(cache.root() / "run", unpack)
