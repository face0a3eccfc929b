"""What the entries of old functions say, and which records are believed. The memory is a dictionary."""

from __future__ import annotations

from dataclasses import replace

import pytest

from suture.number import Address, Bias, BuildId, FileOffset
from suture.patch.consistency import Consistency
from suture.patch.record import PlacedFunction, PlacedGroup, PlacedTripwire, PlacedUnwinding, Record
from suture.patch.x86_64 import STUB_SIZE, UNUSED, Stub, encode_stub, jump
from suture.process.memory.maps import Mapping
from suture.process.memory.placed import Placed, Route, State, _contradiction, group_state, routes

BASE, OLD, SWITCH = 0x7000_0000, 0x6FF0_0000, 0x7000_1000
ORIGINAL = b"\x55\x48\x89\xe5\x90"
NOWHERE = Mapping(Address(0), Address(0), True, False, True, False, FileOffset(0), b"", 0, b"")


def function(number: int = 0, base: int = BASE, entry: int = 4) -> PlacedFunction:
    return PlacedFunction(
        f"f{number}",
        Address(OLD + 64 * number),
        64,
        "",
        entry,
        6,
        ORIGINAL,
        Address(base + 0x800 + 64 * number),
        40,
        Address(base + 0x400 + 16 * number),
        12,
        Address(base + 0x100 + STUB_SIZE * number),
        Consistency.STRICT,
    )


def record(*functions: PlacedFunction, identity: str = "one", base: int = BASE) -> Record:
    groups = (PlacedGroup("g", Address(base + 0x1000), functions),)
    return Record(
        identity, "", BuildId(""), "", "", "", (), (), Address(base), 0x1000, 0x1000, Address(base), 0, Bias(0), groups
    )


F = function()
ENTRY = OLD + 4


def routed(
    memory: dict[int, bytes], *records: Record, more: dict[Address, PlacedFunction] | None = None
) -> dict[Address, Route | None]:
    def read(address: int, size: int) -> bytes:
        return memory.get(address, b"")[:size]

    return routes([Placed(r, NOWHERE, NOWHERE) for r in records], read, more)


def stub(to: int = F.new, origin: int = F.orig) -> bytes:
    return encode_stub(F.stub, Stub(Address(SWITCH), Address(to), Address(origin)))


def test_the_original_bytes_and_a_jump_to_new_code() -> None:
    one = record(F)
    assert routed({ENTRY: ORIGINAL}, one) == {OLD: Route(ORIGINAL, Address(OLD), True, "")}
    to_new = jump(Address(ENTRY), F.new)
    assert routed({ENTRY: to_new}, one) == {OLD: Route(to_new, F.new, True, "one")}
    to_thunk = jump(Address(ENTRY), F.orig)
    assert routed({ENTRY: to_thunk}, one) == {OLD: Route(to_thunk, Address(OLD), False, "")}


@pytest.mark.parametrize(
    ("byte", "target", "owner"), [(b"\0", OLD, ""), (b"\1", F.new, "one"), (b"\xff", F.new, "one")]
)
def test_a_stub_leads_where_its_byte_says(byte: bytes, target: int, owner: str) -> None:
    code = jump(Address(ENTRY), F.stub)
    assert routed({ENTRY: code, F.stub: stub(), SWITCH: byte}, record(F)) == {
        OLD: Route(code, Address(target), False, owner)
    }


def test_what_nobody_has_written_is_no_route() -> None:
    code = jump(Address(ENTRY), F.stub)
    for memory in (
        {},
        {ENTRY: b"\xcc" * 5},
        {ENTRY: ORIGINAL[:4]},
        {ENTRY: jump(Address(ENTRY), Address(F.new + 1))},
        {ENTRY: jump(Address(ENTRY), Address(F.stub + 1))},
        {ENTRY: code},
        {ENTRY: code, F.stub: b"\xcc" * 32, SWITCH: b"\0"},
        {ENTRY: code, F.stub: stub()},
        {ENTRY: code, F.stub: stub(0x1, 0x2), SWITCH: b"\0"},
    ):
        assert routed(memory, record(F)) == {OLD: None}, memory


def test_of_two_patches_the_one_whose_code_is_reached_has_it() -> None:
    other = function(base=BASE + 0x10000)
    two = record(other, identity="two", base=BASE + 0x10000)
    code = jump(Address(ENTRY), other.new)
    assert routed({ENTRY: code}, record(F), two) == {OLD: Route(code, other.new, True, "two")}
    through = jump(Address(ENTRY), other.stub)
    asked = encode_stub(other.stub, Stub(Address(SWITCH), other.new, F.new))
    assert routed({ENTRY: through, other.stub: asked, SWITCH: b"\0"}, record(F), two) == {
        OLD: Route(through, F.new, False, "one")
    }


def test_functions_of_a_patch_that_is_not_placed_yet_have_original_code_alone() -> None:
    more = {Address(OLD): F}
    assert routed({ENTRY: ORIGINAL}, more=more) == {OLD: Route(ORIGINAL, Address(OLD), True, "")}
    assert routed({ENTRY: jump(Address(ENTRY), F.new)}, more=more) == {OLD: None}
    assert routed({ENTRY: jump(Address(ENTRY), F.new)}, record(F), more=more) == {
        OLD: Route(jump(Address(ENTRY), F.new), F.new, True, "one")
    }


FINAL, ORIGINALS, OTHERS = (
    Route(b"", Address(1), True, "one"),
    Route(b"", Address(2), True, ""),
    Route(b"", Address(3), True, "two"),
)
STATES = [
    ([FINAL, FINAL], State.APPLIED, State.APPLIED),
    ([ORIGINALS, ORIGINALS], State.REVERTED, State.REVERTED),
    ([OTHERS, OTHERS], State.REPLACED, State.REPLACED),
    ([OTHERS, ORIGINALS], State.REPLACED, State.REPLACED),
    ([FINAL, ORIGINALS], State.DAMAGED, State.DAMAGED),
    ([FINAL, OTHERS], State.DAMAGED, State.DAMAGED),
    ([FINAL, None], State.DAMAGED, State.DAMAGED),
    ([replace(FINAL, is_final=False), FINAL], State.INTERRUPTED, State.APPLIED),
    ([ORIGINALS, replace(ORIGINALS, is_final=False)], State.INTERRUPTED, State.REVERTED),
    ([replace(OTHERS, is_final=False), OTHERS], State.INTERRUPTED, State.REPLACED),
]  # fmt: skip


@pytest.mark.parametrize(("found", "state", "effective"), STATES)
def test_the_state_of_a_group_is_that_of_all_its_functions(
    found: list[Route | None], state: State, effective: State
) -> None:
    functions = (function(0), function(1))
    table = {f.old: r for f, r in zip(functions, found, strict=True)}
    group = PlacedGroup("g", Address(SWITCH), functions)
    assert group_state("one", group, table, lambda a, n: b"\1") == (state, effective)
    assert group_state("one", group, {}, lambda a, n: b"\1") == (State.DAMAGED, State.DAMAGED)


def test_a_group_whose_byte_was_never_used_was_never_in_force() -> None:
    group, table = PlacedGroup("g", Address(SWITCH), (F,)), {F.old: ORIGINALS}

    def read(address: int, size: int) -> bytes:
        return UNUSED if (address, size) == (SWITCH, 1) else b"\0"

    assert group_state("one", group, table, read) == (State.NEVER_APPLIED, State.NEVER_APPLIED)
    assert group_state("one", group, {F.old: FINAL}, read) == (State.APPLIED, State.APPLIED)


def believed(r: Record) -> str:
    return _contradiction(r, "one", Address(BASE), 0x1000)


def test_a_record_must_be_of_the_mapping_that_it_is_in() -> None:
    good = record(function(0), function(1))
    assert believed(good) == ""
    for change in ({"id": "two"}, {"base": BASE + 0x1000}, {"text_size": 0x2000}):
        assert believed(replace(good, **change)) == "a record that contradicts the mapping"


END = BASE + 0x1000
WRONG = [
    {"new": BASE - 1},
    {"new": END - 39},
    {"orig": BASE - 1},
    {"orig": END - 11},
    {"stub": BASE - 1},
    {"stub": END - 31},
    {"displaced": 4},
    {"size": 9, "displaced": 6},
    {"old": OLD + 64},
    {"old": BASE - 63},
    {"old": END + 0xFFF},
    {"old": BASE + 0x500},
]
RIGHT = [
    {"new": BASE},
    {"new": END - 40},
    {"orig": BASE},
    {"orig": END - 12},
    {"stub": BASE},
    {"stub": END - 32},
    {"displaced": 5},
    {"size": 10},
    {"old": BASE - 64},
    {"old": END + 0x1000},
]


@pytest.mark.parametrize("change", RIGHT)
def test_addresses_up_to_the_edges_are_possible(change: dict[str, int]) -> None:
    assert believed(record(replace(function(0), **change), function(1))) == ""  # type: ignore[arg-type]


@pytest.mark.parametrize("change", WRONG)
def test_addresses_beyond_them_are_not(change: dict[str, int]) -> None:
    found = believed(record(replace(function(0), **change), function(1)))  # type: ignore[arg-type]
    assert found == "a record with impossible addresses"


def test_a_switch_lies_in_the_data_and_a_group_has_functions() -> None:
    good = record(F)
    for switch, possible in ((END, True), (END + 0xFFF, True), (END - 1, False), (END + 0x1000, False)):
        found = believed(replace(good, groups=(PlacedGroup("g", Address(switch), (F,)),)))
        assert (found == "") == possible, hex(switch)
    assert believed(replace(good, groups=(PlacedGroup("g", Address(END), ()),))) != ""


UNWINDING = PlacedUnwinding(Address(BASE + 0x100), Address(BASE + 0x200), Address(BASE + 0x300), Address(END + 8), 2)


def test_unwind_tables_lie_in_the_patch() -> None:
    from suture.patch.finder import CONTINUATION_SIZE, FINDER_SIZE, ROW

    good = record(F)
    edges = {
        "finder": (BASE, END - FINDER_SIZE),
        "continuation": (BASE, END - CONTINUATION_SIZE),
        "rows": (BASE, END - 2 * ROW.size),
        "following": (END, END + 0x1000 - 8),
    }
    assert believed(replace(good, unwinding=UNWINDING)) == ""
    for field, (low, high) in edges.items():
        for value, possible in ((low, True), (high, True), (low - 1, False), (high + 1, False)):
            unwinding = replace(UNWINDING, **{field: Address(value)})
            assert (believed(replace(good, unwinding=unwinding)) == "") == possible, (field, hex(value))


@pytest.mark.parametrize("counters", [(BASE + 0x800,), (BASE + 0x1FFC,), (BASE + 0x2000,), (0x1000,)])
def test_a_record_with_a_counter_outside_of_the_patchs_data_is_refused(counters: tuple[int, ...]) -> None:
    assert wired(BASE + 0x1000, BASE + 0x1008) == wired(BASE + 0x1FF8) == ""
    assert wired(*counters) == "a record with impossible addresses"


def test_a_record_whose_counters_lie_far_apart_is_refused_since_all_between_would_be_read() -> None:
    wide = replace(record(F), data_size=0x1000_0000)
    rows = [wire(BASE + 0x1000), wire(BASE + 0x1000_0000)]
    found = _contradiction(replace(wide, tripwires=tuple(rows)), "one", Address(BASE), 0x1000)
    assert found == "a record with impossible addresses"


def wire(counter: int) -> PlacedTripwire:
    return PlacedTripwire("a.c", 1, "f", "n > 9", (), Address(counter))


def wired(*counters: int) -> str:
    """Why a record with these tripwires is not believed."""
    own = replace(record(F), tripwires=tuple(wire(c) for c in counters))
    return _contradiction(own, "one", Address(BASE), 0x1000)
