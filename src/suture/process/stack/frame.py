"""Call frame information of a running process: which rule finds the caller of a program counter, read from mapped
memory.

Sources: LSB core, exception frames (.eh_frame, .eh_frame_hdr); DWARF 5 sections 6.4 and 2.5; psABI figure 3.36
(register numbers). Everything is bounded: the tables are the process's own.
"""

from __future__ import annotations

import struct
from array import array
from bisect import bisect_right
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from suture.elf.cursor import Cursor
from suture.number import Address
from suture.process.memory import memory

RBX, RBP, RSP, RA = 3, 6, 7, 16
_MOST_TABLE = 64 << 20
_MOST_ENTRY = 1 << 16
_MOST_OPERATIONS = 512
_MASK = (1 << 64) - 1

Word = Callable[[int], int]
"""The 8 bytes at an address of the stack; raises NoFrame when they are not known."""


class NoFrame(Exception):
    """The caller cannot be found: no or strange call frame information, or memory that was not read."""


class Undescribed(NoFrame):
    """The image's tables tell of no function at an address."""

    def __init__(self, pc: int) -> None:
        super().__init__(f"nothing describes {pc:#x}")


@dataclass(frozen=True, slots=True)
class Rule:
    """How a register's value in the caller is found: `kind` is offset, value_offset, register, expression,
    value_expression or undefined."""

    kind: str
    number: int = 0
    code: bytes = b""


@dataclass(frozen=True, slots=True)
class FrameRow:
    """All rules at one program counter. The canonical frame address is register + offset, or an expression.

    `is_start`: the program counter is at the first byte that the entry describes.
    """

    cfa_register: int
    cfa_offset: int
    cfa_expression: bytes
    rules: Mapping[int, Rule]
    is_signal: bool
    is_start: bool = False


class FrameTable:
    """The .eh_frame_hdr of one image: sorted function starts and where their entries are."""

    def __init__(self, pid: int, header: int) -> None:
        self.pid = pid
        raw = memory.try_read(pid, Address(header), 12)
        if len(raw) < 12 or raw[0] != 1 or raw[2] != 0x03 or raw[3] != 0x3B or raw[1] & 0x0F not in (0x03, 0x0B):
            raise NoFrame("no binary search table")
        count = struct.unpack_from("<I", raw, 8)[0]
        if not 0 < count * 8 <= _MOST_TABLE:
            raise NoFrame("impossible search table")
        rows = memory.try_read(pid, Address(header + 12), count * 8)
        if len(rows) != count * 8:
            raise NoFrame("truncated search table")
        numbers = array("i", rows)
        self.header = header
        self._starts = numbers[0::2]
        self._entries = numbers[1::2]

    def start_below(self, pc: int) -> int | None:
        """Where the last function begins that begins at an address or before it."""
        index = bisect_right(self._starts, pc - self.header) - 1
        return None if index < 0 else self.header + self._starts[index]

    def row(self, pc: int) -> FrameRow:
        """The row for an address. Raises NoFrame."""
        index = bisect_right(self._starts, pc - self.header) - 1
        if index < 0:
            raise Undescribed(pc)
        return entry_row(self.pid, self.header + self._entries[index], pc)


@dataclass(frozen=True)
class _Cie:
    code_align: int
    data_align: int
    encoding: int
    augmented: bool
    is_signal: bool
    instructions: bytes


class _FrameCursor(Cursor):
    error = NoFrame


def _entry(pid: int, address: int) -> bytes:
    """An entry's bytes after its length field."""
    raw = memory.try_read(pid, Address(address), 4)
    length = int.from_bytes(raw, "little")
    if len(raw) < 4 or not 4 < length <= _MOST_ENTRY:
        raise NoFrame("impossible entry")
    data = memory.try_read(pid, Address(address + 4), length)
    if len(data) != length:
        raise NoFrame("truncated entry")
    return data


def entry_row(pid: int, address: int, pc: int) -> FrameRow:
    """The row for a program counter from the entry at an address. Raises NoFrame."""
    data = _entry(pid, address)
    pointer = struct.unpack_from("<I", data)[0]
    if not pointer:
        raise NoFrame("not a function's entry")
    cie = _cie(_entry(pid, address + 4 - pointer))
    reader = _FrameCursor(data, 4)
    start = _pointer(reader, cie.encoding, address + 4)
    size = _pointer(reader, cie.encoding & 0x0F, address + 4)
    if not start <= pc < start + size:
        raise Undescribed(pc)
    if cie.augmented:
        reader.take(reader.uleb())
    machine = _Machine(cie, start)
    machine.run(cie.instructions, None)
    machine.initial = dict(machine.rules)
    machine.run(data[reader.at :], pc)
    return FrameRow(
        machine.cfa_register, machine.cfa_offset, machine.cfa_expression, machine.rules, cie.is_signal, pc == start
    )


def _pointer(reader: _FrameCursor, encoding: int, base: int) -> int:
    """DW_EH_PE: absolute or pc-relative, of 4 or 8 bytes; nothing else occurs for code on x86-64."""
    here = base + reader.at
    sizes = {0x00: (8, False), 0x03: (4, False), 0x04: (8, False), 0x0B: (4, True), 0x0C: (8, True)}
    if encoding & 0x0F not in sizes or encoding & 0x70 not in (0x00, 0x10) or encoding & 0x80:
        raise NoFrame(f"pointer encoding {encoding:#x}")
    size, signed = sizes[encoding & 0x0F]
    value = reader.s(size) if signed else reader.u(size)
    return (value + here if encoding & 0x70 else value) & _MASK


def _cie(data: bytes) -> _Cie:
    reader = _FrameCursor(data, 4)
    version = reader.u(1)
    augmentation = reader.text()
    code_align, data_align = reader.uleb(), reader.sleb()
    register = reader.u(1) if version == 1 else reader.uleb()
    if version not in (1, 3) or register != RA:
        raise NoFrame("strange common information entry")
    encoding, signal = 0, b"S" in augmentation
    if augmentation.startswith(b"z"):
        end = reader.uleb() + reader.at
        for letter in augmentation[1:]:
            if letter == ord("R"):
                encoding = reader.u(1)
            elif letter == ord("P"):
                kind = reader.u(1)
                reader.take(8 if kind & 0x0F in (0x00, 0x04, 0x0C) else 4)
            elif letter == ord("L"):
                reader.u(1)
        reader.at = end
    elif augmentation:
        raise NoFrame("strange augmentation")
    return _Cie(code_align, data_align, encoding, augmentation.startswith(b"z"), signal, data[reader.at :])


class _Machine:
    """Executes call frame instructions up to a program counter (DWARF 5, 6.4.2)."""

    def __init__(self, cie: _Cie, start: int) -> None:
        self.cie, self.location = cie, start
        self.cfa_register, self.cfa_offset, self.cfa_expression = RSP, 0, b""
        self.rules: dict[int, Rule] = {}
        self.initial: dict[int, Rule] = {}
        self._kept: list[tuple[int, int, bytes, dict[int, Rule]]] = []

    def run(self, code: bytes, pc: int | None) -> None:
        reader = _FrameCursor(code)
        while reader.at < len(code):
            op = reader.u(1)
            high, low = op & 0xC0, op & 0x3F
            if high == 0x40 or op in (0x02, 0x03, 0x04):
                step = low if high == 0x40 else reader.u(1 << (op - 2))
                self.location += step * self.cie.code_align
                if pc is not None and self.location > pc:
                    return
            elif high == 0x80:
                self.rules[low] = Rule("offset", reader.uleb() * self.cie.data_align)
            elif high == 0xC0:
                self._restore(low)
            else:
                self._other(op, reader)

    def _restore(self, register: int) -> None:
        if register in self.initial:
            self.rules[register] = self.initial[register]
        else:
            self.rules.pop(register, None)

    def _other(self, op: int, reader: _FrameCursor) -> None:
        align = self.cie.data_align
        if op == 0x00:
            pass
        elif op == 0x05:
            register = reader.uleb()
            self.rules[register] = Rule("offset", reader.uleb() * align)
        elif op == 0x06:
            self._restore(reader.uleb())
        elif op == 0x07:
            self.rules[reader.uleb()] = Rule("undefined")
        elif op == 0x08:
            self.rules.pop(reader.uleb(), None)
        elif op == 0x09:
            register = reader.uleb()
            self.rules[register] = Rule("register", reader.uleb())
        elif op == 0x0A:
            self._kept.append((self.cfa_register, self.cfa_offset, self.cfa_expression, dict(self.rules)))
        elif op == 0x0B:
            if not self._kept:
                raise NoFrame("nothing to restore")
            self.cfa_register, self.cfa_offset, self.cfa_expression, self.rules = self._kept.pop()
        elif op in (0x0C, 0x12):
            self.cfa_register, self.cfa_expression = reader.uleb(), b""
            self.cfa_offset = reader.uleb() if op == 0x0C else reader.sleb() * align
        elif op == 0x0D:
            self.cfa_register = reader.uleb()
        elif op in (0x0E, 0x13):
            self.cfa_offset = reader.uleb() if op == 0x0E else reader.sleb() * align
        elif op == 0x0F:
            self.cfa_expression = reader.take(reader.uleb())
        elif op in (0x10, 0x16):
            register = reader.uleb()
            self.rules[register] = Rule(
                "expression" if op == 0x10 else "value_expression", 0, reader.take(reader.uleb())
            )
        elif op == 0x11:
            register = reader.uleb()
            self.rules[register] = Rule("offset", reader.sleb() * align)
        elif op in (0x14, 0x15):
            register = reader.uleb()
            self.rules[register] = Rule("value_offset", (reader.uleb() if op == 0x14 else reader.sleb()) * align)
        elif op == 0x2E:
            reader.uleb()
        else:
            raise NoFrame(f"call frame instruction {op:#x}")


def caller(row: FrameRow, registers: Mapping[int, int], word: Word) -> dict[int, int] | None:
    """Registers of the calling frame, None at the outermost one. Raises NoFrame."""
    if row.cfa_expression:
        cfa = _evaluate(row.cfa_expression, registers, word, None)
    elif row.cfa_register in registers:
        cfa = registers[row.cfa_register] + row.cfa_offset & _MASK
    else:
        raise NoFrame("a frame address in a register that is not known")
    found = dict(registers)
    found[RSP] = cfa
    if RA not in row.rules:
        raise NoFrame("no return address")
    for register, rule in row.rules.items():
        if rule.kind == "undefined":
            if register == RA:
                return None
            found.pop(register, None)
        elif rule.kind == "offset":
            found[register] = word(cfa + rule.number & _MASK)
        elif rule.kind == "value_offset":
            found[register] = cfa + rule.number & _MASK
        elif rule.kind == "register":
            if rule.number not in registers:
                raise NoFrame("a register that is not known")
            found[register] = registers[rule.number]
        else:
            value = _evaluate(rule.code, registers, word, cfa)
            found[register] = word(value) if rule.kind == "expression" else value
    return found


def _evaluate(code: bytes, registers: Mapping[int, int], word: Word, first: int | None) -> int:
    """The few DWARF operations that linkers and C libraries use: PLT entries and signal frames."""
    stack = [] if first is None else [first]
    reader = _FrameCursor(code)
    try:
        for _ in range(_MOST_OPERATIONS):
            if reader.at >= len(code):
                return stack[-1] & _MASK
            op = reader.u(1)
            if 0x70 <= op <= 0x8F:
                stack.append(registers[op - 0x70] + reader.sleb() & _MASK)
            elif 0x30 <= op <= 0x4F:
                stack.append(op - 0x30)
            elif op == 0x06:
                stack.append(word(stack.pop()))
            elif op == 0x23:
                stack.append(stack.pop() + reader.uleb() & _MASK)
            elif op in (0x08, 0x0A, 0x0C):
                stack.append(reader.u({0x08: 1, 0x0A: 2, 0x0C: 4}[op]))
            elif op in _BINARY:
                second = stack.pop()
                stack.append(_BINARY[op](stack.pop(), second) & _MASK)
            else:
                raise NoFrame(f"expression operation {op:#x}")
    except (IndexError, KeyError) as problem:
        raise NoFrame("an expression that does not work out") from problem
    raise NoFrame("an endless expression")


_BINARY: dict[int, Callable[[int, int], int]] = {
    0x1A: lambda a, b: a & b,
    0x1C: lambda a, b: a - b,
    0x21: lambda a, b: a | b,
    0x22: lambda a, b: a + b,
    0x24: lambda a, b: a << (b & 63),
    0x25: lambda a, b: a >> (b & 63),
    0x2A: lambda a, b: int(a >= b),
}
