"""From one state of some old functions to another: decided here as data, done by `apply`.

A transition switches its functions together by one byte (docs/reference/patch-format.md, "The switch"). All its
steps are single writes that lie within a page, and each leaves the process in the old or in the new state, whoever dies
between two of them.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from suture.error import Refused
from suture.number import Address
from suture.patch.consistency import Consistency
from suture.patch.record import PlacedFunction, PlacedGroup, Record
from suture.patch.x86_64 import JUMP_SIZE, PAGE, STUB_SIZE, UNUSED, Stub, encode_stub, jump
from suture.process.memory.placed import Read, Route
from suture.process.stack.stack import Range
from suture.refusal import CHANGED_BY_OTHERS, RESTART
from suture.report.reason import Reason


@dataclass(frozen=True)
class Step:
    """One write into the process. `also` are writes that are done in the same call, as there is no step between them
    and this one."""

    address: Address
    data: bytes
    what: str
    also: tuple[tuple[Address, bytes], ...] = ()


@dataclass(frozen=True)
class Phases:
    """The steps of a transition. While `flip` is not done the process behaves as before, from then on as after."""

    settle: tuple[Step, ...]
    prepare: tuple[Step, ...] = ()
    divert: tuple[Step, ...] = ()
    flip: Step | None = None
    finish: tuple[Step, ...] = ()


@dataclass(frozen=True)
class Change:
    """One old function on its way: addresses that callers reach before and after (the old function's own for the
    original code).

    `now` are the bytes at its entry as planned for; `stub` is the switch stub that is used; `thunk` stands for the
    original code.
    """

    name: str
    entry: Address
    now: bytes
    is_final: bool
    old: Address
    before: Address
    after: Address
    original: bytes
    thunk: Address
    stub: Address

    def final(self, target: Address) -> bytes:
        return self.original if target == self.old else jump(self.entry, target)

    def reached(self, target: Address) -> Address:
        return self.thunk if target == self.old else target


@dataclass(frozen=True)
class Transition:
    """Changes that happen together when the byte at `switch` goes from `low` (0 or 1) to the other value.

    `groups` names them for people, `others` are the switches of all but the first, which are only marked as used;
    `forbidden` is where no thread may be (owner numbers are set by `number`).
    """

    groups: tuple[str, ...]
    switch: Address
    rising: bool
    changes: tuple[Change, ...]
    forbidden: tuple[Range, ...]
    others: tuple[Address, ...] = ()

    def steps(self, read: Read) -> list[Step]:
        """All writes in order, the ones that would change nothing left out. `read` tells the present bytes of stubs and
        switch."""
        p = self.phases(read)
        return [*p.settle, *p.prepare, *p.divert, *((p.flip,) if p.flip else ()), *p.finish]

    def phases(self, read: Read) -> Phases:
        """The same, in parts."""
        first, second = (b"\0", b"\1") if self.rising else (b"\1", b"\0")
        settle = tuple(Step(c.entry, c.final(c.before), f"settle {c.name}") for c in self.changes if not c.is_final)
        moving = self.moving
        if not moving:
            return Phases(settle)
        prepare = []
        for c in moving:
            before, after = c.reached(c.before), c.reached(c.after)
            code = encode_stub(
                c.stub, Stub(self.switch, after if self.rising else before, before if self.rising else after)
            )
            if read(c.stub, STUB_SIZE) != code:
                prepare.append(Step(c.stub, code, f"stub of {c.name}"))
        if read(self.switch, 1) != first:
            prepare.append(Step(self.switch, first, "reset the switch"))
        prepare += [Step(s, second, "note that it was used") for s in self.others if read(s, 1) == UNUSED]
        divert = tuple(Step(c.entry, jump(c.entry, c.stub), f"divert {c.name} to its stub") for c in moving)
        finish = tuple(Step(c.entry, c.final(c.after), f"finish {c.name}") for c in moving)
        flip = Step(self.switch, second, f"switch {', '.join(self.groups)}")
        return Phases(settle, tuple(prepare), divert, flip, finish)

    @property
    def moving(self) -> tuple[Change, ...]:
        """The changes that callers see."""
        return tuple(c for c in self.changes if c.before != c.after)

    def expected(self) -> list[tuple[Address, bytes]]:
        """(address, bytes) that must be there when the process stands still."""
        return [(c.entry, c.now) for c in self.changes]


@dataclass(frozen=True)
class Aim:
    """What is wanted: the patch in question, those that it takes over from, and whether it goes in or out."""

    record: Record
    superseded: tuple[Record, ...]
    applies: bool


def plan(aim: Aim, routes: Mapping[Address, Route | None], owners: Mapping[str, Record]) -> list[Transition]:
    """The transitions that lead to the aim; functions and groups that are there already are left out.

    `routes` are by address of the old function, `owners` the records by id. Raises Refused for an entry that nobody
    knows, or one that crosses a page.
    """
    return [t for groups in _components(aim) if (t := _transition(aim, groups, routes, owners)) is not None]


def settlement(routes: Mapping[Address, Route | None], records: Iterable[Record]) -> Transition | None:
    """What an applier that died has left, made final: each entry that goes through a stub leads where the stub leads
    now.

    It changes nothing that callers see. None when there is nothing to do.
    """
    changes: dict[Address, Change] = {}
    forbidden = []
    switch = Address(0)
    for record in records:
        for group in record.groups:
            for f in group.functions:
                route = routes.get(f.old)
                if route is None or route.is_final:
                    continue
                switch = group.switch
                forbidden.append(Range(f.stub, f.stub + STUB_SIZE, 0, f"{f.name} (switch stub)"))
                changes[f.old] = Change(
                    f.name,
                    Address(f.old + f.entry),
                    route.code,
                    False,
                    f.old,
                    route.target,
                    route.target,
                    f.original,
                    f.orig,
                    f.stub,
                )
    return Transition((), switch, True, tuple(changes.values()), tuple(forbidden)) if changes else None


def _components(aim: Aim) -> list[list[tuple[Record, PlacedGroup]]]:
    """Groups that share functions with others must switch together; the rest stand alone."""
    parts: list[list[tuple[Record, PlacedGroup]]] = []
    for record in (aim.record, *aim.superseded):
        for group in record.groups:
            mine = {f.old for f in group.functions}
            joined = [p for p in parts if any(f.old in mine for _, g in p for f in g.functions)]
            merged = [row for p in joined for row in p] + [(record, group)]
            parts = [p for p in parts if not any(p is j for j in joined)] + [merged]
    return parts


def _transition(
    aim: Aim,
    groups: Sequence[tuple[Record, PlacedGroup]],
    routes: Mapping[Address, Route | None],
    owners: Mapping[str, Record],
) -> Transition | None:
    wanted: dict[Address, tuple[Record, PlacedFunction]] = {}
    for record, group in groups:
        for f in group.functions:
            wanted.setdefault(f.old, (record, f))  # the aim's own come first
    changes: list[Change] = []
    forbidden: list[Range] = []
    involved = {record.id for record, _ in groups}
    for old, (record, f) in wanted.items():
        route = routes.get(old)
        if route is None:
            raise Refused(
                f"{f.name}: the code at {old + f.entry:#x} is neither the original nor written by a patch that is here",
                CHANGED_BY_OTHERS,
                reason=Reason.ENTRY_UNKNOWN,
            )
        if route.owner not in ("", *involved):
            continue  # it belongs to a third patch by now; nothing of ours is there to take out
        after = f.new if aim.applies and record is aim.record else old
        if route.target == after and route.is_final:
            continue
        _check_page(f)
        changes.append(
            Change(
                f.name,
                Address(old + f.entry),
                route.code,
                route.is_final,
                old,
                route.target,
                after,
                f.original,
                f.orig,
                f.stub,
            )
        )
        if route.target != after:
            forbidden += _forbidden(f, route, owners)
    forbidden += _old_parts(groups, changes)
    if not changes:
        return None
    leader, group = groups[0]
    rising = aim.applies and leader is aim.record
    mine = [g for r, g in groups if r is leader]
    return Transition(
        tuple(g.name for g in mine),
        group.switch,
        rising,
        tuple(changes),
        tuple(forbidden),
        tuple(g.switch for g in mine[1:]),
    )


def _old_parts(groups: Sequence[tuple[Record, PlacedGroup]], changes: Sequence[Change]) -> Iterable[Range]:
    """Cold parts and functions that are gone, of groups that leave their original code."""
    leaving = {c.old for c in changes if c.before == c.old and c.after != c.old}
    for _, group in groups:
        if any(f.old in leaving and f.consistency is Consistency.STRICT for f in group.functions):
            yield from (Range(p.old, p.old + p.size, 0, f"{p.name} (old)") for p in group.parts)


def _check_page(f: PlacedFunction) -> None:
    first = f.old + f.entry
    if first // PAGE != (first + JUMP_SIZE - 1) // PAGE:
        raise Refused(
            f"{f.name}: its entry at {first:#x} crosses a page, so it cannot be written in one go",
            f"leave this function out, or {RESTART}",
            reason=Reason.ENTRY_PAGE,
        )


def _forbidden(f: PlacedFunction, route: Route, owners: Mapping[str, Record]) -> Iterable[Range]:
    """Where a thread would be inside the code that is left. The first byte of the old function is not inside: a word
    with its address is a pointer, and a thread that stands there has not begun."""
    yield Range(f.stub, f.stub + STUB_SIZE, 0, f"{f.name} (switch stub)")
    strict = f.consistency is Consistency.STRICT
    displaced_end = f.old + f.entry + f.displaced
    if route.owner == "":
        what = f"{f.name}, which never returns" if f.endless else f.name
        yield Range(f.old + 1, f.old + f.size if strict else displaced_end, 0, what)
        yield Range(f.orig, f.orig + f.orig_size, 0, f"{f.name} (original thunk)")
        return
    yield Range(f.old + f.entry + 1, displaced_end, 0, f"{f.name} (entry)")
    owner = owners[route.owner]
    leaving = next(o for o in owner.functions if o.old == f.old)
    yield Range(leaving.stub, leaving.stub + STUB_SIZE, 0, f"{f.name} (switch stub of {owner.id})")
    if strict:
        yield Range(leaving.new, leaving.new + leaving.new_size, 0, f"{f.name} (of {owner.id})")
        yield from _shared_code(owner)


def _shared_code(owner: Record) -> Iterable[Range]:
    """Code of a patch that is no replaced function: cold parts and new helpers, which any of its functions may be
    in."""
    at = owner.code
    spans = sorted((a, a + n) for f in owner.functions for a, n in ((f.new, f.new_size), (f.orig, f.orig_size)))
    for start, end in [*spans, (owner.code + owner.code_size,) * 2]:
        if start > at:
            yield Range(at, start, 0, f"new code of {owner.id}", holds_entries=True)
        at = max(at, Address(end))
