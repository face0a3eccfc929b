"""Changes to inputs that know what they change: header fields, section headers, symbols, relocations, values of JSON,
lines, bytes."""

from __future__ import annotations

import copy
import json
import random
import struct
from collections.abc import Callable, Iterator
from typing import Any

from suture.elf.file import BadElf, ElfFile
from suture.error import Unsupported
from suture.patch.file import MANIFEST_SECTION
from suture.patch.record import HEADER

_NUMBERS = (0, 1, 2, 3, 4, 5, 7, 8, 16, 24, 255, 256, 4095, 4096, 65535, 65536, (1 << 31) - 1,
1 << 31, 1 << 32, (1 << 47) - 1,
            1 << 47, (1 << 63) - 1, 1 << 63, (1 << 64) - 1)  # fmt: skip
_ODD: tuple[Any, ...] = (*_NUMBERS, -1, 1 << 64, -(1 << 63), 10**30, 1.5, 1e308, True, False, None,
"", "A", "../../etc/passwd", "\x1b]0;x\x07",
        "a" * 20_000, "\ud800", "\0", "\u202e", [], {}, [[]], {"a": 1}, ["x"] * 500, "00" * 3000)  # fmt: skip
_EHDR = (
    ("<H", 16),
    ("<H", 18),
    ("<Q", 32),
    ("<Q", 40),
    ("<H", 54),
    ("<H", 56),
    ("<H", 58),
    ("<H", 60),
    ("<H", 62),
    ("<I", 48),
)
_SHDR = (
    ("<I", 0),
    ("<I", 4),
    ("<Q", 8),
    ("<Q", 16),
    ("<Q", 24),
    ("<Q", 32),
    ("<I", 40),
    ("<I", 44),
    ("<Q", 48),
    ("<Q", 56),
)
_SYM = (("<I", 0), ("<B", 4), ("<B", 5), ("<H", 6), ("<Q", 8), ("<Q", 16))
_RELA = (("<Q", 0), ("<I", 8), ("<I", 12), ("<Q", 16))
_MEANT = (
    "address",
    "size",
    "entry",
    "displaced",
    "old",
    "new",
    "base",
    "switch",
    "stub",
    "name",
    "notes",
    "relaxed",
    "first",
    "last",
)
Rng = random.Random


def mutated(name: str, data: bytes, rng: Rng) -> bytes:
    """A changed input for a target."""
    kinds: dict[str, tuple[Callable[[bytes, Rng], bytes], ...]] = {
        "patch": (_bytes, _fields, _fields, _in_manifest, _in_manifest),
        "kernel_patch": (_bytes, _fields, _in_manifest),
        "elf": (_bytes, _fields, _fields),
        "manifest": (_bytes, _json, _json, _json_text),
        "record": (_bytes, _in_record, _in_record),
        "feed_statement": (_bytes, _json, _json, _json_text),
        "feed_index": (_bytes,),
        "maps": (_bytes, _lines),
        "frames": (_bytes,),
    }
    for _ in range(rng.choice((1, 1, 1, 1, 2, 3))):
        data = rng.choice(kinds[name])(data, rng)
    return data


def _bytes(data: bytes, rng: Rng) -> bytes:
    out = bytearray(data)
    kind = rng.randrange(5)
    if kind == 0 and out:
        del out[rng.randrange(len(out)) :]
    elif kind == 1:
        at = rng.randrange(len(out) + 1)
        out[at:at] = rng.randbytes(rng.choice((1, 2, 8, 64)))
    elif kind == 2 and len(out) > 8:
        struct.pack_into("<Q", out, rng.randrange(len(out) - 8), rng.choice(_NUMBERS))
    elif kind == 3 and len(out) > 1:
        start, size, at = rng.randrange(len(out)), rng.choice((1, 8, 24, 64)), rng.randrange(len(out))
        out[at : at + size] = out[start : start + size]
    else:
        for _ in range(rng.choice((1, 1, 2, 8))):
            if out:
                out[rng.randrange(len(out))] = rng.randrange(256)
    return bytes(out)


def _put(out: bytearray, at: int, fields: tuple[tuple[str, int], ...], rng: Rng) -> None:
    form, offset = rng.choice(fields)
    size = struct.calcsize(form)
    if at + offset + size <= len(out):
        value = rng.choice((rng.choice(_NUMBERS), rng.randrange(64), rng.randrange(len(out))))
        struct.pack_into(form, out, at + offset, value % (1 << (8 * size)))


def _fields(data: bytes, rng: Rng) -> bytes:
    """A field of the ELF header, of a section header, of a symbol or of a relocation."""
    out = bytearray(data)
    try:
        file = ElfFile(data)
        sections = file.sections
    except (BadElf, Unsupported):
        return _bytes(data, rng)
    table = int.from_bytes(data[40:48], "little")
    rows = {2: _SYM, 11: _SYM, 4: _RELA}
    tables = [s for s in sections if s.sh_type in rows and 24 <= s.sh_size < len(data)]
    kind = rng.randrange(4)
    if kind == 0 or not sections:
        _put(out, 0, _EHDR, rng)
    elif kind < 3 or not tables:
        _put(out, table + 64 * rng.randrange(len(sections)), _SHDR, rng)
    else:
        one = rng.choice(tables)
        _put(out, one.sh_offset + 24 * rng.randrange(one.sh_size // 24), rows[one.sh_type], rng)
    return bytes(out)


def _leaves(value: Any, path: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    if path:
        yield path
    rows = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, inner in rows:
        yield from _leaves(inner, (*path, key))


def _changed(value: Any, rng: Rng) -> Any:
    """A JSON value with one of its values changed, left out, doubled or under another name."""
    top = copy.deepcopy(value)
    places = list(_leaves(top))
    if not places:
        return rng.choice(_ODD)
    path = rng.choice(places)
    if rng.random() < 0.5:  # numbers are where a fault that is not refused would come from
        path = rng.choice([p for p in places if p[-1] in _MEANT] or places)
    at = top
    for key in path[:-1]:
        at = at[key]
    key, old, kind = path[-1], at[path[-1]], rng.randrange(6)
    if kind == 0:
        del at[key]
    elif kind == 1 and isinstance(at, list):
        at.append(copy.deepcopy(old))
    elif kind == 1:
        at[rng.choice(("zz", "name", "", "address"))] = copy.deepcopy(old)
    elif kind < 4 and type(old) is int:
        at[key] = rng.choice((old + 1, old - 1, old * 2, old ^ 1, old + 4096, rng.choice(_NUMBERS)))
    else:
        at[key] = rng.choice(_ODD)
    return top


def _json(data: bytes, rng: Rng) -> bytes:
    try:
        top = json.loads(data)
    except (ValueError, RecursionError):
        return _bytes(data, rng)
    try:
        return json.dumps(_changed(top, rng)).encode()
    except (ValueError, TypeError):
        return data


def _json_text(data: bytes, rng: Rng) -> bytes:
    """What json.dumps never writes: a name twice, numbers that are none, other encodings, nesting."""
    text = data.decode(errors="replace")
    return rng.choice(
        (
            text.replace('":', '":Infinity,"q":', 1).encode(),
            text.replace("1", "1e400", 1).encode(),
            (text[:-1] + ',"name":"other"}').encode(),
            ("\ufeff" + text).encode(),
            text.encode("utf-16"),
            b"[" * 5000 + data,
            data.replace(b"1", b"1" * 5000, 1),
            data + b" ",
            data + b"x",
        )
    )


def _in_manifest(data: bytes, rng: Rng) -> bytes:
    """The manifest of an object, changed and put behind its end."""
    try:
        file = ElfFile(data)
        section = file.section(MANIFEST_SECTION)
        raw = file.bytes_of(section) if section else b""
    except (BadElf, Unsupported):
        return _bytes(data, rng)
    if section is None:
        return _bytes(data, rng)
    new = rng.choice((_json, _json, _json_text))(raw, rng)
    out = bytearray(data)
    header = int.from_bytes(data[40:48], "little") + 64 * section.index
    if section.sh_offset + section.sh_size == len(data):
        del out[section.sh_offset :]
    struct.pack_into("<QQ", out, header + 24, len(out), len(new))
    return bytes(out + new)


def _in_record(data: bytes, rng: Rng) -> bytes:
    new = rng.choice((_json, _json, _json_text))(data[HEADER.size :], rng)
    return HEADER.pack(b"SUTUREREC\0", 1, len(new) & 0xFFFFFFFF) + new


def _lines(data: bytes, rng: Rng) -> bytes:
    lines = data.split(b"\n")
    at, other = rng.randrange(len(lines)), rng.randrange(len(lines))
    kind = rng.randrange(4)
    if kind == 0:
        lines[at] = lines[other]
    elif kind == 1:
        lines.insert(at, lines[other])
    elif kind == 2:
        fields = lines[at].split(b" ")
        fields[rng.randrange(len(fields))] = rng.choice(
            (b"", b"0", b"ffffffffffffffffff", b"-", b"rwxp", b"\\012\\777", b"\xff")
        )
        lines[at] = b" ".join(fields)
    else:
        del lines[at]
    return b"\n".join(lines)
