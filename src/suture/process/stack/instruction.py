"""How long x86-64 instructions are: enough to tell an instruction from bytes that only look like one (Intel SDM volume
2, appendix A)."""

from __future__ import annotations

from collections.abc import Iterable

_LONGEST = 15
_PREFIXES = frozenset({0x26, 0x2E, 0x36, 0x3E, 0x64, 0x65, 0x66, 0x67, 0xF0, 0xF2, 0xF3})
_NONE, _MODRM, _BYTE, _WORD, _LONG = 0, 1, 2, 4, 8
"""What follows an opcode: nothing, a ModRM byte, one byte, two bytes, an operand of four bytes (two with prefix 66)."""
_INVALID = 128
_REL = 16  # four bytes with any prefix


def _one_byte() -> list[int]:
    kinds = [_NONE] * 256
    for op in range(0x40):
        kinds[op] = (_MODRM, _MODRM, _MODRM, _MODRM, _BYTE, _LONG, _INVALID, _INVALID)[op & 7]
    _set(kinds, (0x60, 0x61, 0x82, 0x9A, 0xC4, 0xC5, 0xCE, 0xD4, 0xD5, 0xD6, 0xEA, 0x62), _INVALID)
    _set(kinds, (0x63, *range(0x84, 0x90), *range(0xD0, 0xD4), *range(0xD8, 0xE0), 0xF6, 0xF7, 0xFE, 0xFF), _MODRM)
    _set(kinds, (0x6B, 0x80, 0x83, 0xC0, 0xC1, 0xC6), _MODRM | _BYTE)
    _set(kinds, (0x69, 0x81, 0xC7), _MODRM | _LONG)
    _set(kinds, (0x6A, *range(0x70, 0x80), 0xA8, *range(0xB0, 0xB8), 0xCD, *range(0xE0, 0xE8), 0xEB), _BYTE)
    _set(kinds, (0x68, 0xA9, *range(0xB8, 0xC0)), _LONG)
    _set(kinds, (0xE8, 0xE9), _REL)
    _set(kinds, (0xC2, 0xCA), _WORD)
    _set(kinds, (0xC8,), _WORD | _BYTE)
    return kinds


def _two_bytes() -> list[int]:
    kinds = [_MODRM] * 256
    plain = (*range(0x05, 0x0A), 0x0B, 0x0E, *range(0x30, 0x38), 0x77, 0xA0, 0xA1, 0xA2, 0xA8, 0xA9, 0xAA)
    _set(kinds, (*plain, *range(0xC8, 0xD0)), _NONE)
    _set(kinds, range(0x80, 0x90), _REL)
    _set(kinds, (0x70, 0x71, 0x72, 0x73, 0xA4, 0xAC, 0xBA, 0xC2, 0xC4, 0xC5, 0xC6, 0x0F), _MODRM | _BYTE)
    _set(kinds, (0x04, 0x0A, 0x0C, 0x36, 0x39, 0x3B, 0x3C, 0x3D, 0x3E, 0x3F), _INVALID)
    return kinds


def _set(kinds: list[int], opcodes: Iterable[int], kind: int) -> None:
    for op in opcodes:
        kinds[op] = kind


_FIRST, _SECOND = _one_byte(), _two_bytes()
_MAPS = {1: _SECOND, 2: [_MODRM] * 256, 3: [_MODRM | _BYTE] * 256, 5: [_MODRM] * 256, 6: [_MODRM] * 256}


def length(code: bytes, at: int) -> int:
    """Of the instruction at an offset; 0 when there is none, or it is cut off."""
    try:
        return _length(code, at)
    except IndexError:
        return 0


def _length(code: bytes, start: int) -> int:
    at = start
    short = narrow = False
    while code[at] in _PREFIXES:
        short |= code[at] == 0x66
        narrow |= code[at] == 0x67
        at += 1
    wide = code[at] & 0xF8 == 0x48
    if code[at] & 0xF0 == 0x40:
        at += 1
    op = code[at]
    at += 1
    is_first = False
    if op in (0xC4, 0xC5, 0x62):
        maps = {0xC5: 1, 0xC4: code[at] & 0x1F, 0x62: code[at] & 7}
        kinds = _MAPS.get(maps[op])
        at += {0xC5: 1, 0xC4: 2, 0x62: 3}[op]
        if kinds is None:
            return 0
        op = code[at]
        at += 1
    elif op == 0x0F:
        op = code[at]
        at += 1
        kinds = _SECOND
        if op in (0x38, 0x3A):
            kinds = _MAPS[2 if op == 0x38 else 3]
            op = code[at]
            at += 1
    else:
        kinds, is_first = _FIRST, True
    kind = kinds[op]
    if kind & _INVALID:
        return 0
    if kind & _MODRM:
        modrm = code[at]
        if is_first and op == 0x8F and modrm & 0x38:
            return 0  # XOP
        at = _behind_address(code, at)
        if is_first and op in (0xF6, 0xF7) and modrm & 0x30 == 0:
            kind |= _BYTE if op == 0xF6 else _LONG
    if is_first and op in range(0xA0, 0xA4):
        at += 4 if narrow else 8
    elif is_first and wide and op in range(0xB8, 0xC0):
        at += 8
    elif kind & _LONG:
        at += 2 if short and not wide else 4
    at += (kind & _BYTE != 0) + 2 * (kind & _WORD != 0) + 4 * (kind & _REL != 0)
    return at - start if at - start <= _LONGEST and at <= len(code) else 0


def _behind_address(code: bytes, at: int) -> int:
    modrm = code[at]
    at += 1
    mod, rm = modrm >> 6, modrm & 7
    if mod == 3:
        return at
    if rm == 4:
        base = code[at] & 7
        at += 1
        if mod == 0 and base == 5:
            return at + 4
    elif mod == 0 and rm == 5:
        return at + 4
    return at + (0, 1, 4)[mod]


def begins_at(code: bytes, start: int, wanted: int) -> bool:
    """Whether an instruction begins at `wanted`, told by going from one at `start` to the next. True when that cannot
    be told."""
    at = start
    while at < wanted:
        size = length(code, at)
        if not size:
            return True
        at += size
    return at == wanted
