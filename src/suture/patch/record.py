"""The record that a live patch carries at the start of its memory in a process.

Its form: docs/reference/patch-format.md, "In the process".

`status` and `revert` need nothing else. Reading one means reading what a process may have written itself: all is
bounded and typed here, and who uses it must still check the addresses against the process's maps.
"""

from __future__ import annotations

import json
import re
import struct
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

from suture.number import Address, Bias, BuildId
from suture.patch import strict_json
from suture.patch.consistency import Consistency
from suture.patch.field import MOST_TEXT, members, rows
from suture.patch.tripwire import MOST_TRIPWIRES

MAGIC = b"SUTUREREC\0"
FORMAT = 1
HEADER = struct.Struct("<10sHI")
MOST_JSON = 4 << 20
_MOST_VALUES = MOST_JSON // 16
_MOST_KEPT = 64 << 10
MEMFD_PREFIX = "suture:"
MOST_FUNCTIONS = 8192
_MOST_COMPANIONS = 64
_ID = re.compile(r"[0-9a-f]{16}")


class BadRecord(ValueError):
    """The bytes are no record."""


@dataclass(frozen=True)
class PlacedFunction:
    """A replaced function in one process; addresses are those of the process, sizes in bytes.

    `old`..`old+size` is the old code, `original` its bytes at `entry` before the first change, `displaced` how many the
    thunk at `orig` stands for.
    """

    name: str
    old: Address
    size: int
    sha256: str
    entry: int
    displaced: int
    original: bytes
    new: Address
    new_size: int
    orig: Address
    orig_size: int
    stub: Address
    consistency: Consistency
    endless: bool = False


@dataclass(frozen=True)
class PlacedPart:
    """Old code that no jump diverts but that no thread may be inside when the group switches: a cold part, a function
    that is gone."""

    name: str
    old: Address
    size: int


@dataclass(frozen=True)
class PlacedGroup:
    """Functions that switch together by the byte at address `switch`."""

    name: str
    switch: Address
    functions: tuple[PlacedFunction, ...]
    parts: tuple[PlacedPart, ...] = ()


@dataclass(frozen=True)
class RecordedFix:
    """A fix by name, and the CVEs that the patch closes with it: none where a part is missing or another binary's patch
    is needed."""

    name: str
    cves: tuple[str, ...]


@dataclass(frozen=True)
class PlacedUnwinding:
    """How a C++ runtime finds the patch's unwind tables (patch/finder.py): the finder and its continuation, the table
    of `count` rows, the word that holds the next finder's address."""

    finder: Address
    continuation: Address
    rows: Address
    following: Address
    count: int


@dataclass(frozen=True)
class PlacedTripwire:
    """A tripwire (patch/tripwire.py); `counter` is the address of its eight bytes in the patch's data."""

    file: str
    line: int
    function: str
    condition: str
    cves: tuple[str, ...]
    counter: Address


@dataclass(frozen=True)
class Record:
    """A patch placed in a process: `base` is where its text mapping starts, the data mapping follows after `text_size`.

    `code`, `code_size` cover all code of the patch but stubs and thunks: new functions and what only they call.
    `suspends` are functions of the image in which suspended coroutines stand; `relaxed` the reason for relaxed
    consistency, "" for none. `unwinding` is None for a patch without unwind tables. `complete`: nothing of the fixes is
    missing in this binary. `companions` are the ids of the patches that were switched in the same stop.
    """

    id: str
    name: str
    build_id: BuildId
    file: str
    package: str
    version: str
    fixes: tuple[RecordedFix, ...]
    notes: tuple[str, ...]
    base: Address
    text_size: int
    data_size: int
    code: Address
    code_size: int
    bias: Bias
    groups: tuple[PlacedGroup, ...]
    suspends: tuple[PlacedPart, ...] = ()
    relaxed: str = ""
    unwinding: PlacedUnwinding | None = None
    complete: bool = False
    tripwires: tuple[PlacedTripwire, ...] = ()
    companions: tuple[str, ...] = ()

    @property
    def functions(self) -> tuple[PlacedFunction, ...]:
        return tuple(f for g in self.groups for f in g.functions)

    @property
    def cves(self) -> tuple[str, ...]:
        return tuple(sorted({c for fix in self.fixes for c in fix.cves}))

    def encode(self) -> bytes:
        """Header and JSON. The length does not depend on the addresses, so that it can be laid out before they are
        known."""
        top = _plain(self)
        for later in ("tripwires", "companions"):
            if not top[later]:
                del top[later]  # a record without them is what it was before there were any
        body = json.dumps(top, sort_keys=True, separators=(",", ":")).encode()
        return HEADER.pack(MAGIC, FORMAT, len(body)) + body


# written as 16 hex digits always: their values are known only after the record is laid out
_ADDRESSES = frozenset({
    "base", "bias", "code", "text_size", "data_size", "code_size", "old", "new", "orig", "stub", "switch",
    "finder", "continuation", "rows", "following", "counter",
})  # fmt: skip


def _plain(value: Any, key: str = "") -> Any:
    if key in _ADDRESSES:
        return f"{value % (1 << 64):#018x}"
    kind = type(value)
    if kind is str:
        return printable(value)
    if kind is int or kind is bool or value is None:
        return value
    if kind is bytes:
        return value.hex()
    if kind is tuple or kind is list:
        return [_plain(v) for v in value]
    if kind is Consistency:
        return value.value
    return {k: _plain(v, k) for k, v in vars(value).items()}


def readable(data: bytes) -> Record:
    """The record at the start of a patch's text, read as whoever reverts it will. Raises BadRecord when nobody could.

    What is refused here is never placed: a patch that goes in must come out again.
    """
    record = decode(data)
    again = record.encode()
    if again != data[: len(again)]:
        raise BadRecord("does not read as what it was written from")
    return record


def body_length(header: bytes) -> int:
    """Length of the JSON that follows a header. Raises BadRecord."""
    if len(header) < HEADER.size:
        raise BadRecord("too short")
    magic, version, length = HEADER.unpack_from(header)
    if magic != MAGIC or version != FORMAT or not 0 < length <= MOST_JSON:
        raise BadRecord("no record of this format")
    return int(length)


def decode(data: bytes) -> Record:
    """Header and JSON to a Record. Raises BadRecord for anything that is not one."""
    return _decode_again(data) if len(data) <= _MOST_KEPT else _decode(data)


@lru_cache(maxsize=64)
def _decode_again(data: bytes) -> Record:
    """Kept, because processes born of one have the same record."""
    return _decode(data)


def _decode(data: bytes) -> Record:
    length = body_length(data)
    if len(data) < HEADER.size + length:
        raise BadRecord("truncated")
    try:
        record = _record(members(strict_json.loads(data[HEADER.size : HEADER.size + length], MOST_JSON, _MOST_VALUES)))
    except (ValueError, KeyError, TypeError) as problem:
        raise BadRecord(f"malformed: {type(problem).__name__}") from problem
    if not 0 < len(record.functions) <= MOST_FUNCTIONS:
        raise BadRecord("impossible number of functions")
    if not all(g.functions for g in record.groups):
        raise BadRecord("a group without functions")
    return record


def _record(top: dict[str, Any]) -> Record:
    return Record(
        _text(top["id"]),
        _text(top["name"]),
        BuildId(_text(top["build_id"])),
        _text(top["file"]),
        _text(top["package"]),
        _text(top["version"]),
        tuple(RecordedFix(_text(f["name"]), tuple(_text(c) for c in rows(f["cves"]))) for f in rows(top["fixes"])),
        tuple(_text(n) for n in rows(top["notes"])),
        _address(top["base"]),
        _size(int(_text(top["text_size"]), 16)),
        _size(int(_text(top["data_size"]), 16)),
        _address(top["code"]),
        _size(int(_text(top["code_size"]), 16)),
        _bias(top["bias"]),
        tuple(_group(g) for g in rows(top["groups"])),
        _parts(top.get("suspends", [])),
        _text(top.get("relaxed", "")),
        _unwinding(top.get("unwinding")),
        top.get("complete") is True,
        _tripwires(top.get("tripwires", [])),
        _companions(top.get("companions", [])),
    )


def _companions(value: Any) -> tuple[str, ...]:
    found = tuple(_text(c) for c in rows(value))
    if len(found) > _MOST_COMPANIONS or not all(_ID.fullmatch(c) for c in found):
        raise ValueError("companions")
    return found


def _tripwires(value: Any) -> tuple[PlacedTripwire, ...]:
    found = rows(value)
    if len(found) > MOST_TRIPWIRES:
        raise ValueError("tripwires")
    return tuple(
        PlacedTripwire(
            _text(t["file"]),
            _size(t["line"]),
            _text(t["function"]),
            _text(t["condition"]),
            tuple(_text(c) for c in rows(t["cves"])),
            _address(t["counter"]),
        )
        for t in found
    )


def _unwinding(row: dict[str, Any] | None) -> PlacedUnwinding | None:
    """None also for records of patches that were made before there was such a thing."""
    if row is None:
        return None
    return PlacedUnwinding(
        _address(row["finder"]),
        _address(row["continuation"]),
        _address(row["rows"]),
        _address(row["following"]),
        _size(row["count"]),
    )


def _parts(value: Any) -> tuple[PlacedPart, ...]:
    return tuple(PlacedPart(_text(p["name"]), _address(p["old"]), _size(p["size"])) for p in rows(value))


def _group(row: dict[str, Any]) -> PlacedGroup:
    parts = _parts(row["parts"])
    return PlacedGroup(
        _text(row["name"]), _address(row["switch"]), tuple(_function(f) for f in rows(row["functions"])), parts
    )


def _function(row: dict[str, Any]) -> PlacedFunction:
    original = bytes.fromhex(row["original"])
    if len(original) != 5:
        raise ValueError("original bytes")
    return PlacedFunction(
        _text(row["name"]),
        _address(row["old"]),
        _size(row["size"]),
        _text(row["sha256"]),
        _size(row["entry"]),
        _size(row["displaced"]),
        original,
        _address(row["new"]),
        _size(row["new_size"]),
        _address(row["orig"]),
        _size(row["orig_size"]),
        _address(row["stub"]),
        Consistency(row["consistency"]),
        row.get("endless") is True,
    )


def _text(value: Any) -> str:
    if not isinstance(value, str) or len(value) > MOST_TEXT:
        raise TypeError("text")
    return printable(value)


def printable(text: str) -> str:
    """What a record holds of a text: it ends on terminals, so nothing unprintable."""
    return text if text.isprintable() else "".join(c if c.isprintable() else "?" for c in text)


def _size(value: Any) -> int:
    if not isinstance(value, int) or isinstance(value, bool) or not 0 <= value < 1 << 31:
        raise TypeError("size")
    return value


def _address(value: Any) -> Address:
    number = int(_text(value), 16)
    if not 0 < number < 1 << 47:
        raise ValueError("address")
    return Address(number)


def _bias(value: Any) -> Bias:
    number = int(_text(value), 16)
    if not 0 <= number < 1 << 64:
        raise ValueError("bias")
    return Bias(number if number < 1 << 63 else number - (1 << 64))
