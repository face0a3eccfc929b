"""The memory of a process is a dictionary here; where calls lead after each write is told by `placed.routes`, which
reads jumps and stubs."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import pytest

from suture.error import Refused
from suture.number import Address, Bias, BuildId, FileOffset
from suture.patch.consistency import Consistency
from suture.patch.record import PlacedFunction, PlacedGroup, PlacedPart, Record
from suture.patch.x86_64 import JUMP_SIZE, PAGE, STUB_SIZE, UNUSED, Stub, encode_stub, jump
from suture.process.change.transition import Aim, Step, Transition, plan, settlement
from suture.process.memory.maps import Mapping
from suture.process.memory.placed import Placed, Route, routes
from suture.process.stack.stack import Range

ORIGINAL = bytes.fromhex("554889e590")


def function(name: str, old: int, patch: int, number: int, **more: object) -> PlacedFunction:
    """One of 64 bytes at `old`; the patch at `patch` has stubs from 0x100, thunks from 0x400, code from 0x800."""
    row = PlacedFunction(
        name, Address(old), 64, "", 0, 5, ORIGINAL,
        Address(patch + 0x800 + 48 * number), 40, Address(patch + 0x400 + 16 * number), 12,
        Address(patch + 0x100 + STUB_SIZE * number), Consistency.STRICT,
    )  # fmt: skip
    return replace(row, **more)  # type: ignore[arg-type]


def group(name: str, switch: int, *functions: PlacedFunction, parts: tuple[PlacedPart, ...] = ()) -> PlacedGroup:
    return PlacedGroup(name, Address(switch), functions, parts)


def record(identity: str, base: int, *groups: PlacedGroup) -> Record:
    return Record(
        identity,
        f"patch {identity}",
        BuildId(""),
        "",
        "",
        "",
        (),
        (),
        Address(base),
        0x1000,
        0x1000,
        Address(base + 0x800),
        0x300,
        Bias(0),
        groups,
    )


class Memory:
    """What a process has at its addresses, and where its calls lead."""

    def __init__(self, *records: Record) -> None:
        self.bytes: dict[int, int] = {}
        self.records = records
        for r in records:
            self.put(r.base, bytes(0x2000))
        for f in {f.old: f for r in records for f in r.functions}.values():
            self.put(f.old, b"\x90" * f.size)
            self.put(f.old + f.entry, f.original)

    def put(self, address: int, data: bytes) -> None:
        self.bytes.update({address + n: value for n, value in enumerate(data)})

    def read(self, address: int, size: int) -> bytes:
        return bytes(self.bytes[address + n] for n in range(size))

    def routes(self) -> dict[Address, Route | None]:
        nowhere = Mapping(Address(0), Address(0), True, False, True, False, FileOffset(0), b"", 0, b"")
        return routes([Placed(r, nowhere, nowhere) for r in self.records], self.read)

    def targets(self) -> dict[int, int]:
        found = self.routes()
        assert all(r is not None for r in found.values()), found
        return {old: r.target for old, r in found.items() if r is not None}

    def plan(self, aim: Aim) -> list[Transition]:
        return plan(aim, self.routes(), {r.id: r for r in self.records})

    def carry_out(self, aim: Aim) -> list[Transition]:
        """All of it, with a look after each write: callers reach all of the old or all of the new; one write
        changes that."""
        transitions = self.plan(aim)
        for t in transitions:
            assert all(self.read(address, len(code)) == code for address, code in t.expected())
            mine = {c.old for c in t.changes}
            before = {old: target for old, target in self.targets().items() if old in mine}
            assert before == {c.old: c.before for c in t.changes}
            after = {c.old: c.after for c in t.changes}
            seen = [before]
            for step in t.steps(self.read):
                assert step.address // PAGE == (step.address + len(step.data) - 1) // PAGE
                self.put(step.address, step.data)
                seen.append({old: target for old, target in self.targets().items() if old in mine})
            assert all(state in (before, after) for state in seen)
            assert seen == sorted(seen, key=lambda state: state == after and state != before)
            assert seen[-1] == after
        return transitions


BASE, OTHER, OLD = 0x7000_0000, 0x7100_0000, 0x6FF0_0000
F, G = function("f", OLD, BASE, 0), function("g", OLD + 0x100, BASE, 1)
ONE = record("one", BASE, group("fix", BASE + 0x1000, F, G))


def other(old: PlacedFunction, number: int = 0) -> PlacedFunction:
    """The same old function as another patch has it."""
    return function(old.name, old.old, OTHER, number, entry=old.entry, original=old.original)


def test_applying_leads_all_functions_of_a_group_to_the_new_code_with_one_write() -> None:
    memory = Memory(ONE)
    (t,) = memory.carry_out(Aim(ONE, (), True))
    assert (t.groups, t.switch, t.rising) == (("fix",), BASE + 0x1000, True)
    assert memory.targets() == {F.old: F.new, G.old: G.new}
    assert memory.read(F.old, 5) == jump(F.old, F.new)
    assert memory.read(F.stub, STUB_SIZE) == encode_stub(F.stub, Stub(t.switch, F.new, F.orig))
    assert memory.plan(Aim(ONE, (), True)) == []


def test_the_writes_are_named_and_come_in_order_and_those_that_change_nothing_are_left_out() -> None:
    memory = Memory(ONE)
    (t,) = memory.plan(Aim(ONE, (), True))
    steps = t.steps(memory.read)
    assert [s.what for s in steps] == [
        "stub of f", "stub of g", "divert f to its stub", "divert g to its stub", "switch fix", "finish f", "finish g",
    ]  # fmt: skip
    assert steps[2] == Step(F.old, jump(F.old, F.stub), "divert f to its stub")
    assert steps[4] == Step(Address(BASE + 0x1000), b"\1", "switch fix")
    assert steps[5] == Step(F.old, jump(F.old, F.new), "finish f")
    memory.put(F.stub, steps[0].data)
    memory.put(BASE + 0x1000, b"\1")
    again = t.steps(memory.read)
    assert [s.what for s in again][:2] == ["stub of g", "reset the switch"]
    assert again[1] == Step(Address(BASE + 0x1000), b"\0", "reset the switch")


def test_reverting_puts_the_old_bytes_back() -> None:
    memory = Memory(ONE)
    memory.carry_out(Aim(ONE, (), True))
    (t,) = memory.carry_out(Aim(ONE, (), False))
    assert (t.rising, t.groups, t.switch) == (False, ("fix",), BASE + 0x1000)
    assert memory.read(F.old, 5) == memory.read(G.old, 5) == ORIGINAL
    assert memory.read(BASE + 0x1000, 1) == b"\0"
    assert memory.plan(Aim(ONE, (), False)) == []


def test_a_function_that_is_there_already_is_left_out_and_one_behind_a_stub_is_settled() -> None:
    memory = Memory(ONE)
    memory.put(F.old, jump(F.old, F.new))
    (t,) = memory.carry_out(Aim(ONE, (), True))
    assert [c.name for c in t.changes] == ["g"]
    memory = Memory(ONE)
    memory.put(F.stub, encode_stub(F.stub, Stub(Address(BASE + 0x1000), F.new, F.orig)))
    memory.put(F.old, jump(F.old, F.stub))
    (t,) = memory.plan(Aim(ONE, (), False))
    assert [(c.name, c.is_final, c.before, c.after) for c in t.changes] == [("f", False, F.old, F.old)]
    assert t.forbidden == ()
    assert t.steps(memory.read) == [Step(F.old, ORIGINAL, "settle f")]
    (t,) = memory.carry_out(Aim(ONE, (), True))
    assert [(c.name, c.is_final) for c in t.changes] == [("f", False), ("g", True)]


def test_groups_without_common_functions_switch_apart() -> None:
    two = record("one", BASE, group("a", BASE + 0x1000, F), group("b", BASE + 0x1001, G))
    first, second = Memory(two).carry_out(Aim(two, (), True))
    assert (first.groups, first.switch, second.groups, second.switch) == (("a",), BASE + 0x1000, ("b",), BASE + 0x1001)


def test_a_patch_that_takes_over_switches_all_groups_that_share_functions_at_once() -> None:
    h = function("h", OLD + 0x200, OTHER, 1)
    first = record("one", BASE, group("a", BASE + 0x1000, F), group("b", BASE + 0x1001, G))
    second = record("two", OTHER, group("both", OTHER + 0x1000, other(F), h))
    memory = Memory(first, second)
    memory.carry_out(Aim(first, (), True))
    transitions = memory.carry_out(Aim(second, (first,), True))
    assert [[c.name for c in t.changes] for t in transitions] == [["f", "h"], ["g"]]
    assert (transitions[0].switch, transitions[0].groups, transitions[0].rising) == (OTHER + 0x1000, ("both",), True)
    assert (transitions[1].switch, transitions[1].groups, transitions[1].rising) == (BASE + 0x1001, ("b",), False)
    assert memory.targets() == {F.old: other(F).new, G.old: G.old, h.old: h.new}
    # and one that shares functions of two groups joins them
    third = record(
        "three",
        BASE + 0x4000,
        group("c", BASE + 0x5000, *(function(f.name, f.old, BASE + 0x4000, n) for n, f in enumerate((F, G)))),
    )
    memory = Memory(first, third)
    memory.carry_out(Aim(first, (), True))
    (t,) = memory.carry_out(Aim(third, (first,), True))
    assert [c.name for c in t.changes] == ["f", "g"]


def test_what_belongs_to_a_third_patch_stays() -> None:
    second = record("two", OTHER, group("x", OTHER + 0x1000, other(F)))
    memory = Memory(ONE, second)
    memory.carry_out(Aim(ONE, (), True))
    memory.carry_out(Aim(second, (ONE,), True))
    assert memory.targets() == {F.old: other(F).new, G.old: G.old}
    memory.put(G.old, jump(G.old, G.new))
    (t,) = memory.carry_out(Aim(ONE, (), False))
    assert [c.name for c in t.changes] == ["g"]
    assert memory.targets() == {F.old: other(F).new, G.old: G.old}


def test_an_entry_that_nobody_knows_is_refused() -> None:
    g = function("g", OLD + 0x104, BASE, 0, entry=4)
    one = record("one", BASE, group("fix", BASE + 0x1000, g))
    memory = Memory(one)
    memory.put(g.old + 4, b"\xcc")
    with pytest.raises(Refused, match=r"g: the code at 0x6ff00108 is neither") as caught:
        memory.plan(Aim(one, (), True))
    assert "restart" in caught.value.remedy


def at(offset: int, entry: int = 0) -> tuple[Memory, Aim]:
    """A patch of one function that begins at an offset in a page."""
    f = function("f", OLD + offset, BASE, 0, entry=entry)
    one = record("one", BASE, group("fix", BASE + 0x1000, f))
    return Memory(one), Aim(one, (), True)


def test_an_entry_that_crosses_a_page_is_refused() -> None:
    for offset, entry in ((0, 0), (PAGE - JUMP_SIZE, 0), (PAGE, 0), (PAGE - 9, 4), (PAGE - 4, 4)):
        memory, aim = at(offset, entry)
        memory.carry_out(aim)
    for offset, entry in ((PAGE - 4, 0), (PAGE - 1, 0), (PAGE - 8, 4), (PAGE - 5, 4)):
        memory, aim = at(offset, entry)
        with pytest.raises(Refused, match=f"f: its entry at {OLD + offset + entry:#x} crosses a page") as caught:
            memory.plan(aim)
        assert "leave this function out" in caught.value.remedy


def forbidden(t: Transition) -> list[Range]:
    assert all(r.owner == 0 for r in t.forbidden)
    return list(t.forbidden)


def only(f: PlacedFunction, *parts: PlacedPart) -> Record:
    return record("one", BASE, group("fix", BASE + 0x1000, f, parts=parts))


def test_nobody_may_be_inside_the_old_code_its_stub_its_thunk_and_its_cold_parts() -> None:
    parts = (PlacedPart("f.cold", Address(0x6FE0_0000), 32), PlacedPart("gone", Address(0x6FE0_1000), 16))
    for endless, what in ((False, "f"), (True, "f, which never returns")):
        one = only(replace(F, endless=endless), *parts)
        (t,) = Memory(one).plan(Aim(one, (), True))
        assert forbidden(t) == [
            Range(F.stub, F.stub + STUB_SIZE, 0, "f (switch stub)"),
            Range(F.old + 1, F.old + 64, 0, what),
            Range(F.orig, F.orig + 12, 0, "f (original thunk)"),
            Range(0x6FE0_0000, 0x6FE0_0020, 0, "f.cold (old)"),
            Range(0x6FE0_1000, 0x6FE0_1010, 0, "gone (old)"),
        ]


def test_a_relaxed_function_may_go_on_behind_the_bytes_that_change() -> None:
    f = replace(F, entry=4, displaced=7, consistency=Consistency.RELAXED)
    one = only(f, PlacedPart("f.cold", Address(0x6FE0_0000), 32))
    memory = Memory(one)
    (t,) = memory.carry_out(Aim(one, (), True))
    assert forbidden(t)[1] == Range(F.old + 1, F.old + 11, 0, "f")
    assert len(t.forbidden) == 3
    (t,) = memory.plan(Aim(one, (), False))
    assert forbidden(t) == [
        Range(F.stub, F.stub + STUB_SIZE, 0, "f (switch stub)"),
        Range(F.old + 5, F.old + 11, 0, "f (entry)"),
        Range(F.stub, F.stub + STUB_SIZE, 0, "f (switch stub of one)"),
    ]


def test_who_leaves_a_patch_is_neither_in_its_function_nor_in_what_its_functions_share() -> None:
    f = replace(F, entry=4, displaced=6)
    # the patch's code: 0x800..0xb00, of which f has 0x800..0x828 and g 0x830..0x858
    one = record("one", BASE, group("fix", BASE + 0x1000, f), group("more", BASE + 0x1001, G))
    memory = Memory(one)
    memory.carry_out(Aim(one, (), True))
    (t, _) = memory.plan(Aim(one, (), False))
    assert forbidden(t) == [
        Range(F.stub, F.stub + STUB_SIZE, 0, "f (switch stub)"),
        Range(F.old + 5, F.old + 10, 0, "f (entry)"),
        Range(F.stub, F.stub + STUB_SIZE, 0, "f (switch stub of one)"),
        Range(F.new, F.new + 40, 0, "f (of one)"),
        Range(BASE + 0x828, BASE + 0x830, 0, "new code of one", holds_entries=True),
        Range(BASE + 0x858, BASE + 0xB00, 0, "new code of one", holds_entries=True),
    ]


def test_who_takes_over_looks_at_the_code_of_the_patch_that_goes() -> None:
    f = replace(F, stub=Address(F.stub + 24), new=Address(F.new + 8))  # all sums carry
    second = record("two", OTHER, group("x", OTHER + 0x1000, other(f)))
    one = record(
        "one", BASE, group("fix", BASE + 0x1000, G, f, parts=(PlacedPart("f.cold", Address(0x6FE0_0000), 32),))
    )
    memory = Memory(one, second)
    memory.put(f.old, jump(f.old, f.new))
    (t,) = memory.plan(Aim(second, (one,), True))
    assert forbidden(t) == [
        Range(other(F).stub, other(F).stub + STUB_SIZE, 0, "f (switch stub)"),
        Range(F.old + 1, F.old + 5, 0, "f (entry)"),
        Range(F.stub + 24, F.stub + 24 + STUB_SIZE, 0, "f (switch stub of one)"),
        Range(F.new + 8, F.new + 48, 0, "f (of one)"),
        Range(BASE + 0x800, BASE + 0x808, 0, "new code of one", holds_entries=True),
        Range(BASE + 0x858, BASE + 0xB00, 0, "new code of one", holds_entries=True),
    ]


def interrupted() -> tuple[Memory, Callable[[], Transition | None]]:
    memory = Memory(ONE)
    memory.put(G.stub, encode_stub(G.stub, Stub(Address(BASE + 0x1000), G.new, G.orig)))
    memory.put(G.old, jump(G.old, G.stub))
    return memory, lambda: settlement(memory.routes(), memory.records)


def test_what_a_dead_applier_left_is_settled_where_it_leads() -> None:
    for switch, target, code in ((b"\0", G.old, ORIGINAL), (b"\1", G.new, jump(G.old, G.new))):
        memory, settle = interrupted()
        memory.put(BASE + 0x1000, switch)
        t = settle()
        assert t is not None
        assert (t.groups, t.switch, t.rising) == ((), BASE + 0x1000, True)
        assert t.forbidden == (Range(G.stub, G.stub + STUB_SIZE, 0, "g (switch stub)"),)
        assert t.expected() == [(G.old, jump(G.old, G.stub))]
        assert t.steps(memory.read) == [Step(G.old, code, "settle g")]
        (change,) = t.changes
        assert (change.before, change.after, change.is_final) == (target, target, False)
        memory.put(G.old, code)
        assert settle() is None


def test_the_entry_of_what_is_settled_may_lie_behind_the_start() -> None:
    f = replace(F, entry=4)
    memory = Memory(only(f))
    memory.put(f.stub, encode_stub(f.stub, Stub(Address(BASE + 0x1000), f.new, f.orig)))
    memory.put(f.old + 4, jump(Address(f.old + 4), f.stub))
    t = settlement(memory.routes(), memory.records)
    assert t is not None and t.steps(memory.read) == [Step(Address(f.old + 4), ORIGINAL, "settle f")]


def test_an_entry_that_nobody_knows_is_not_settled() -> None:
    memory, settle = interrupted()
    memory.put(F.old, b"\xcc")
    t = settle()
    assert t is not None and [c.name for c in t.changes] == ["g"]
    assert settlement({}, memory.records) is None


def test_switches_of_groups_that_are_joined_are_marked_as_used() -> None:
    old = [function(n, OLD + 0x100 * i, BASE, i) for i, n in enumerate("fgh")]
    first = record("one", BASE, group("all", BASE + 0x1000, *old))
    new = [other(f, i) for i, f in enumerate(old)]
    apart = record("two", OTHER, *(group(f.name, OTHER + 0x1000 + i, f) for i, f in enumerate(new)))
    memory = Memory(first, apart)
    memory.carry_out(Aim(first, (), True))
    for i in range(3):
        memory.put(OTHER + 0x1000 + i, UNUSED)
    (t,) = memory.plan(Aim(apart, (first,), True))
    assert (t.groups, t.switch, t.others) == (("f", "g", "h"), OTHER + 0x1000, (OTHER + 0x1001, OTHER + 0x1002))
    notes = [s for s in t.steps(memory.read) if s.what == "note that it was used"]
    assert notes == [
        Step(Address(OTHER + 0x1001), b"\1", notes[0].what),
        Step(Address(OTHER + 0x1002), b"\1", notes[0].what),
    ]
    memory.carry_out(Aim(apart, (first,), True))
    assert [memory.read(OTHER + 0x1000 + i, 1) for i in range(3)] == [b"\1"] * 3
    (t,) = memory.plan(Aim(first, (apart,), True))
    assert t.others == () and [s for s in t.steps(memory.read) if "note" in s.what] == []


def test_switches_of_all_groups_that_are_joined_are_marked_as_used() -> None:
    h = function("h", OLD + 0x200, BASE, 5)
    three = record(
        "one", BASE, *(group(n, BASE + 0x1000 + i, f) for i, (n, f) in enumerate((("a", F), ("b", G), ("c", h))))
    )
    over = tuple(function(f.name, f.old, OTHER, n) for n, f in enumerate((F, G, h)))
    second = record("two", OTHER, group("all", OTHER + 0x1000, *over))
    memory = Memory(three, second)
    memory.carry_out(Aim(second, (), True))
    (t,) = memory.carry_out(Aim(three, (second,), True))
    assert (t.groups, t.switch, t.others) == (("a", "b", "c"), BASE + 0x1000, (BASE + 0x1001, BASE + 0x1002))
