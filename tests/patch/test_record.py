"""The record in a process: its form, and what is refused."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import pytest

from suture.number import Address, Bias, BuildId
from suture.patch.consistency import Consistency
from suture.patch.record import (
    FORMAT,
    HEADER,
    MAGIC,
    BadRecord,
    PlacedFunction,
    PlacedGroup,
    PlacedPart,
    PlacedTripwire,
    Record,
    RecordedFix,
    body_length,
    decode,
    readable,
)
from tests.patch.document import changed

FUNCTION = PlacedFunction(
    "f",
    Address(0x1000),
    64,
    "00",
    4,
    5,
    b"\x55\x48\x89\xe5\x53",
    Address(0x9000),
    32,
    Address(0x9100),
    16,
    Address(0x9200),
    Consistency.STRICT,
)
RECORD = Record(
    "0123456789abcdef", "name", BuildId("aa"), "lib.so", "pkg", "1",
    (RecordedFix("x.patch", ("CVE-1", "CVE-0")),), ("note",),
    Address(0x8000), 0x2000, 0x1000, Address(0x9000), 0x120, Bias(-0x1000),
    (PlacedGroup("g", Address(0xA000), (FUNCTION,)),),
)  # fmt: skip


def test_a_record_survives_its_encoding() -> None:
    assert decode(RECORD.encode()) == RECORD
    assert decode(RECORD.encode() + b"rest of the page") == RECORD
    assert RECORD.cves == ("CVE-0", "CVE-1")


def test_tripwires_are_in_a_record_and_one_without_is_what_it_was_before_there_were_any() -> None:
    assert b"tripwires" not in RECORD.encode()
    wire = PlacedTripwire("a.c", 12, "f", "n > 9", ("CVE-1",), Address(0xA010))
    wired = replace(RECORD, tripwires=(wire,))
    assert decode(wired.encode()) == wired
    far = replace(wired, tripwires=(replace(wire, counter=Address(0x7FFF22345678)),))
    assert len(far.encode()) == len(wired.encode())
    with pytest.raises(BadRecord):
        decode(replace(RECORD, tripwires=(wire,) * 257).encode())


def test_the_length_does_not_depend_on_addresses() -> None:
    far = replace(FUNCTION, old=Address(0x7FFF12345678), new=Address(0x7FFF22345678), stub=Address(0x7FFF22345000))
    moved = replace(
        RECORD,
        base=Address(0x7FFF22340000),
        text_size=0x7FF000,
        groups=(PlacedGroup("g", Address(0x7FFF22350000), (far,)),),
    )
    assert len(moved.encode()) == len(RECORD.encode())


@pytest.mark.parametrize("cut", [0, 5, HEADER.size - 1, HEADER.size, HEADER.size + 10, -1])
def test_a_truncated_record_is_refused(cut: int) -> None:
    with pytest.raises(BadRecord):
        decode(RECORD.encode()[:cut])


@pytest.mark.parametrize(
    ("old", "new"),
    [
        (b"SUTUREREC", b"SUTUREREK"),
        (b'"stub":"0x', b'"stub":"zx'),
        (b'"size":64', b'"size":-4'),
        (b'"size":64', b'"size":1e'),
        (b'"strict"', b'"strait"'),
        (b'"554889e553"', b'"554889e5"  '),
        (b'"functions":[', b'"functionz":['),
        (b'"groups":[', b'"groups":{'),
    ],
)
def test_an_altered_record_is_refused(old: bytes, new: bytes) -> None:
    data = RECORD.encode()
    assert old in data
    with pytest.raises(BadRecord):
        decode(data.replace(old, new, 1))


def test_an_absurd_length_is_refused_before_anything_is_read() -> None:
    with pytest.raises(BadRecord):
        body_length(HEADER.pack(b"SUTUREREC\0", 1, 0x7FFFFFFF))


def test_deep_nesting_is_refused() -> None:
    body = b"[" * 100_000
    with pytest.raises(BadRecord):
        decode(HEADER.pack(b"SUTUREREC\0", 1, len(body)) + body)


@pytest.mark.parametrize(
    "path",
    [("notes",), ("fixes",), ("fixes", 0, "cves"), ("groups",), ("groups", 0, "functions"), ("groups", 0, "parts"), ()],
)
@pytest.mark.parametrize("value", ["ab", {"a": "b"}, ["a", ["b"]]])
def test_what_is_no_list_is_not_read_as_one(path: tuple[str | int, ...], value: Any) -> None:
    document = json.loads(RECORD.encode()[HEADER.size :].rstrip(b"\0"))
    body = changed(document, path, value) if path else json.dumps(value).encode()
    with pytest.raises(BadRecord):
        decode(HEADER.pack(MAGIC, FORMAT, len(body)) + body)


def test_a_name_given_twice_is_refused() -> None:
    body = RECORD.encode()[HEADER.size :].replace(b'"file":"lib.so"', b'"file":"lib.so","file":"other"', 1)
    with pytest.raises(BadRecord):
        decode(HEADER.pack(b"SUTUREREC\0", 1, len(body)) + body)


@pytest.mark.parametrize(
    "odd",
    [
        replace(RECORD, name="n" * 70_000),
        replace(RECORD, notes=("n" * 15_000,) * 300),
        replace(RECORD, suspends=(PlacedPart("p", Address(1 << 60), 1),)),
        replace(
            RECORD,
            groups=(PlacedGroup("g", Address(0xA000), (FUNCTION,), (PlacedPart("p", Address(0x1000), 1 << 40),)),),
        ),
        replace(RECORD, groups=(*RECORD.groups, PlacedGroup("empty", Address(0xA000), ()))),
        replace(RECORD, groups=(PlacedGroup("g", Address(0xA000), (replace(FUNCTION, size=1 << 40),)),)),
    ],
    ids=["long name", "larger than any", "far part", "huge part", "empty group", "huge function"],
)
def test_what_could_not_be_read_back_to_revert_it_is_found_out_before(odd: Record) -> None:
    with pytest.raises(BadRecord):
        readable(odd.encode())


def test_a_text_that_a_terminal_would_obey_is_written_so_that_it_reads_the_same() -> None:
    odd = replace(RECORD, notes=("a\x1b[2J\u202eb",))
    assert readable(odd.encode()).notes == ("a?[2J?b",)


def test_what_a_process_says_cannot_drive_a_terminal() -> None:
    assert decode(replace(RECORD, name="a\x1b[31m\nb").encode()).name == "a?[31m?b"


def test_numbers_are_those_that_an_address_a_size_or_a_bias_can_be() -> None:
    def told(field: str, value: object) -> Record | None:
        top = json.loads(RECORD.encode()[HEADER.size :])
        top[field] = value
        body = json.dumps(top).encode()
        try:
            return decode(HEADER.pack(MAGIC, FORMAT, len(body)) + body)
        except BadRecord:
            return None

    for address, good in ((1, True), ((1 << 47) - 1, True), (0, False), (1 << 47, False), (-1, False)):
        assert (told("base", hex(address)) is not None) == good, address
    for size, good in ((0, True), ((1 << 31) - 1, True), (1 << 31, False), (-1, False)):
        assert (told("text_size", hex(size)) is not None) == good, size
    biases = {0: 0, 5: 5, (1 << 63) - 1: (1 << 63) - 1, 1 << 63: -(1 << 63), (1 << 64) - 1: -1}
    for raw, bias in biases.items():
        found = told("bias", hex(raw))
        assert found is not None and found.bias == bias
    assert told("bias", hex(1 << 64)) is None and told("bias", "-0x1") is None


def test_a_record_has_so_many_values_and_no_more() -> None:
    for values, why in ((1 << 18, "JSONDecodeError"), ((1 << 18) + 1, "ValueError")):
        body = b"[" + b"," * (values - 1)
        with pytest.raises(BadRecord, match=f"malformed: {why}"):
            decode(HEADER.pack(MAGIC, FORMAT, len(body)) + body)


def test_companions_are_in_a_record_and_one_without_is_what_it_was_before_there_were_any() -> None:
    assert b"companions" not in RECORD.encode()
    together = replace(RECORD, companions=("0" * 16, "f" * 16))
    assert readable(together.encode()) == together
    for bad in (["x"], ["0" * 15], [7], "0" * 16, ["0" * 16] * 65):
        with pytest.raises(BadRecord):
            body = json.dumps({**json.loads(together.encode()[HEADER.size :]), "companions": bad}).encode()
            decode(HEADER.pack(MAGIC, FORMAT, len(body)) + body)
