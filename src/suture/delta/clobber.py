"""The -fipa-ra trap: a caller may rely on registers that its callee, as it knew it, leaves alone.

gcc (from -O2, gcc/final.cc `collect_fn_hard_reg_usage`) tells callers in the same unit which call-clobbered registers a
function really changes, calls included. After patching, an unreplaced function of the pre object may call a function of
the post object, and a function of the post object may call one of the pre. Each direct call in that mixed world is
checked: what the callee may change now, and could not when its caller was compiled, must not be live behind the call.

With nothing replaced both worlds are one and the first set is empty, so code that gcc made never counts against itself.

Where old frames may finish in old code, replaced functions of pre are callers too: they call what is new like all
others. gcc also leaves the stack as it is, at 8 of 16 bytes, before a call of a function of the unit that needs no more
(gcc/calls.cc, `preferred_incoming_stack_boundary`); a caller that is compiled anew aligns it for the new callee, an old
frame does not.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from enum import Enum

from suture.delta.code_unit import CodeUnit, Function, Transfer
from suture.delta.liveness import (
    ALL,
    ANY_ARGUMENT,
    RETURN_REGISTERS,
    VECTOR_ARGUMENTS,
    Flow,
    FlowStep,
    Leaving,
    Place,
    live_registers,
    register_names,
)
from suture.elf.abi import GOT_LOADS
from suture.elf.file import ElfFile


class World(Enum):
    """Which object a caller was compiled in."""

    PRE = "pre"
    POST = "post"


@dataclass(frozen=True)
class Violation:
    """A call behind which `registers` are live in `caller` and may be changed by `callee` as it will be; without
    registers one from an old frame that may not align the stack as `callee` will need it.

    `offset` is that of the call instruction in the caller's section `section` of its object.
    """

    caller: str
    callee: str
    registers: tuple[str, ...]
    section: str
    offset: int
    world: World

    def __str__(self) -> str:
        if not self.registers:
            return (
                f"{self.caller} ({self.world.value}) may call {self.callee} with a stack that is not aligned as it "
                "needs"
            )
        listed = ", ".join(self.registers)
        return (
            f"{self.caller} ({self.world.value}) relies on {listed} across its call of {self.callee}, which may "
            "change it"
        )


def violations(
    pre: ElfFile,
    post: ElfFile,
    replaced: frozenset[str],
    new: frozenset[str],
    undiverted: frozenset[str] = frozenset(),
    old_frames: bool = False,
) -> tuple[Violation, ...]:
    """All calls that break when the functions `replaced`, `undiverted` and `new` run from `post` and all others go on
    from `pre`.

    `undiverted` are replaced, and only new code gets to their new code. `old_frames`: old code of what is replaced goes
    on too. Both objects are compiled with -ffunction-sections and -g. Names are symbol names. Order: callers of pre,
    then of post, each in the order of their names.
    """
    old, fixed = CodeUnit(pre), CodeUnit(post)
    compiled = {
        World.PRE: _Code(lambda name, caller: old if name in old.functions else None),
        World.POST: _Code(lambda name, caller: fixed if name in fixed.functions else None),
    }
    moved = _with_aliases(fixed, replaced | undiverted | new)
    gone = _with_aliases(old, replaced | undiverted)
    stays = _with_aliases(old, undiverted) if old_frames else frozenset()

    def placed(name: str, caller: CodeUnit) -> CodeUnit | None:
        if name in stays and caller is old:
            return old
        if name in moved and name in fixed.functions:
            return fixed
        return old if name in old.functions and name not in gone else None

    patched = _Code(placed)
    affected = _reaching(old, gone)
    found: list[Violation] = []
    for world, unit in ((World.PRE, old), (World.POST, fixed)):
        names = sorted({f.name for f in unit.functions.values()})
        for name in names:
            runs = placed(name, unit) is unit or (old_frames and world is World.PRE)
            if runs and name not in unit.opaque:
                found += _check(unit, world, name, compiled[world], patched, affected if world is World.PRE else None)
                if world is World.PRE and name in gone:
                    found += _unaligned(unit, name, compiled[world], patched, affected)
    return tuple(found)


def _check(
    unit: CodeUnit, world: World, name: str, compiled: _Code, patched: _Code, affected: frozenset[str] | None
) -> Iterator[Violation]:
    risky: dict[Place, tuple[Transfer, int]] = {}
    for transfer in unit.transfers(name):
        if not transfer.is_call or not transfer.defined or unit.may_be_another(unit.functions[transfer.callee]):
            continue
        if affected is not None and transfer.callee not in affected:
            continue
        risk = patched.clobbered(transfer.callee, unit) & ~compiled.clobbered(transfer.callee, unit)
        if risk:
            risky[transfer.place] = (transfer, risk)
    if not risky:
        return
    live = compiled.live_behind(name, unit)
    for step in unit.steps(name):
        field = unit.field(step)
        hit = risky.get((step.section, field.r_offset)) if field else None
        if hit and (relied := hit[1] & live[(step.section, step.offset)]):
            section = unit.elf.sections[step.section].name
            yield Violation(name, hit[0].callee, register_names(relied), section, step.offset, world)


def _unaligned(
    unit: CodeUnit, name: str, compiled: _Code, patched: _Code, affected: frozenset[str]
) -> Iterator[Violation]:
    """Calls from an old frame that calls nothing outside the unit, so that it may align nothing, of what does so now or
    uses vectors."""
    if compiled.may_need_alignment(name, unit, vectors=False):
        return
    for transfer in unit.transfers(name):
        callee = transfer.callee
        if not transfer.defined or callee not in affected or compiled.may_need_alignment(callee, unit, vectors=True):
            continue
        if patched.may_need_alignment(callee, unit, vectors=True):
            section, offset = transfer.place
            yield Violation(name, callee, (), unit.elf.sections[section].name, offset, World.PRE)


def _with_aliases(unit: CodeUnit, names: frozenset[str]) -> frozenset[str]:
    return names | frozenset(n for name in names if name in unit.functions for n in unit.functions[name].names)


def _reaching(unit: CodeUnit, targets: frozenset[str]) -> frozenset[str]:
    """Functions from which direct calls and jumps lead to one of `targets`, those included."""
    callers: dict[str, set[str]] = {}
    for function in {f.name: f for f in unit.functions.values()}.values():
        for transfer in unit.transfers(function.name):
            callers.setdefault(transfer.callee, set()).add(function.name)
    found = {unit.functions[t].name for t in targets if t in unit.functions}
    todo = list(found)
    while todo:
        for caller in callers.get(todo.pop(), ()):
            if caller not in found:
                found.add(caller)
                todo.append(caller)
    return frozenset(found)


class _Code:
    """A world: for each function name, and the object that it is called from, the object whose code runs; None when
    that is neither."""

    def __init__(self, unit_of: Callable[[str, CodeUnit], CodeUnit | None]) -> None:
        self._unit_of = unit_of
        self._clobbered: dict[tuple[str, int], int] = {}
        self._entered: dict[str, int] = {}

    def clobbered(self, name: str, caller: CodeUnit) -> int:
        """Call-clobbered registers that calling `name` may change: its own instructions' and, through calls and jumps,
        all others'."""
        key = (name, id(caller))
        if key not in self._clobbered:
            self._clobbered[key] = self._changed_by(self._closure(name, caller))
        return self._clobbered[key]

    def may_need_alignment(self, name: str, caller: CodeUnit, vectors: bool) -> bool:
        """Whether a call of `name` may get to code that calls what is not known here, or, with `vectors`, that uses
        vector registers."""
        functions = self._closure(name, caller)
        if functions is None or any(unit.calls_unknown(n) for (n, _), unit in functions.items()):
            return True
        return vectors and bool(self._changed_by(functions) & sum(VECTOR_ARGUMENTS))

    def _closure(self, name: str, caller: CodeUnit) -> dict[tuple[str, int], CodeUnit] | None:
        """Every function that `name` leads to, None when control may leave what is known here."""
        found: dict[tuple[str, int], CodeUnit] = {}
        todo = [(name, caller)]
        while todo:
            current, whence = todo.pop()
            unit = self._unit_of(current, whence)
            if unit is None or unit.may_be_another(unit.functions[current]):
                return None
            if (current, id(unit)) in found:
                continue
            found[(current, id(unit))] = unit
            for transfer in unit.transfers(current):
                if not transfer.defined:
                    return None
                todo.append((transfer.callee, unit))
        return found

    @staticmethod
    def _changed_by(functions: dict[tuple[str, int], CodeUnit] | None) -> int:
        changed = 0
        for (name, _), unit in (functions or {}).items():
            if unit.calls_unknown(name):
                return ALL
            for step in unit.steps(name):
                changed |= step.effect.changed
        return ALL if functions is None else changed & ALL

    def live_behind(self, name: str, unit: CodeUnit) -> dict[Place, int]:
        """Registers that are live behind each instruction of `name` in `unit`."""
        return self._liveness(name, unit)[1]

    def _liveness(self, name: str, unit: CodeUnit) -> tuple[dict[Place, int], dict[Place, int]]:
        tables = unit.tables.get(unit.functions[name].name, ())

        def successors(step: FlowStep) -> Sequence[Place]:
            if step.effect.flow is Flow.CALL:
                return ()
            if step.effect.relative is None:
                return tables
            place = unit.target(step)
            return (place,) if place is not None else ()

        def leaves(step: FlowStep) -> Leaving | None:
            return self._leaves(unit, name, step)

        known = unit.prototypes.get(_base(name))
        return live_registers(unit.steps(name), successors, leaves, known.returns if known else RETURN_REGISTERS)

    def _leaves(self, unit: CodeUnit, name: str, step: FlowStep) -> Leaving | None:
        row = unit.field(step)
        if step.effect.relative is None:
            own = unit.tables.get(unit.functions[name].name)
            if step.effect.flow is Flow.JUMP and own and unit.reads_table(step):
                return None
            by_name = unit.elf.symbols[row.symbol].name if row is not None and row.r_type in GOT_LOADS else ""
            return Leaving(self._read_by(unit, by_name, None), ALL)
        place = unit.target(step)
        if step.effect.flow is not Flow.CALL and unit.inside(name, place):
            return None
        callee = unit.function_of(place) if place is not None else None
        if callee is not None and not unit.may_be_another(callee):
            return Leaving(self._read_by(unit, callee.name, callee), self.clobbered(callee.name, unit))
        symbol = unit.elf.symbols[row.symbol].name if row is not None else ""
        return Leaving(self._read_by(unit, symbol or (callee.name if callee else ""), callee), ALL)

    def _read_by(self, unit: CodeUnit, name: str, function: Function | None) -> int:
        """Argument registers that a call of `name` reads: by its prototype, else by its code, else all that there
        are."""
        known = unit.prototypes.get(name)
        if known is not None and known.reads is not None:
            return known.reads
        if function is None or name in unit.opaque:
            return ANY_ARGUMENT
        if name not in self._entered:
            self._entered[name] = ANY_ARGUMENT  # for a call back to itself, until it is known
            first = function.spans[0]
            self._entered[name] = self._liveness(name, unit)[0].get((first.section, first.start), ANY_ARGUMENT)
        return self._entered[name]


def _base(name: str) -> str:
    """The source's name of a clone such as `f.isra.0`."""
    return name.split(".", 1)[0]
