"""The -fipa-ra trap: a caller may rely on registers that its callee, as it knew it, leaves alone.

gcc (from -O2, gcc/final.cc `collect_fn_hard_reg_usage`) tells callers in the same unit which call-clobbered registers a function
really changes, calls included. After patching, an unreplaced function of the pre object may call a function of the post object,
and a function of the post object may call one of the pre. Each direct call in that mixed world is checked: what the callee may
change now, and could not when its caller was compiled, must not be live behind the call.

With nothing replaced both worlds are one and the first set is empty, so code that gcc made never counts against itself.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from enum import Enum

from suture.delta import liveness
from suture.delta.code_unit import CodeUnit, Function, Transfer
from suture.delta.liveness import ALL, ANY_ARGUMENT, RETURN_REGISTERS, Call, Flow, Place, Step, live_after, register_names
from suture.delta.prototype import Prototype, prototypes
from suture.elf.file import ElfFile

_INTEGER_RETURN = liveness.RAX


class World(Enum):
    """Which object a caller was compiled in."""

    PRE = "pre"
    POST = "post"


@dataclass(frozen=True)
class Violation:
    """A call behind which `registers` are live in `caller` and may be changed by `callee` as it will be.

    `offset` is that of the call instruction in the caller's section `section` of its object.
    """

    caller: str
    callee: str
    registers: tuple[str, ...]
    section: str
    offset: int
    world: World

    def __str__(self) -> str:
        listed = ", ".join(self.registers)
        return f"{self.caller} ({self.world.value}) relies on {listed} across its call of {self.callee}, which may change it"


def violations(
    pre: ElfFile, post: ElfFile, replaced: frozenset[str], new: frozenset[str]
) -> tuple[Violation, ...]:
    """All calls that break when the functions `replaced` and `new` run from `post` and all others go on from `pre`.

    Both objects are compiled with -ffunction-sections and -g. Names are symbol names. Order: callers of pre, then of post, each
    in the order of their names.
    """
    old, fixed = CodeUnit(pre), CodeUnit(post)
    compiled = {World.PRE: _Code(lambda n: old if n in old.functions else None), World.POST: _Code(lambda n: fixed if n in fixed.functions else None)}
    moved = _with_aliases(fixed, replaced | new)
    gone = _with_aliases(old, replaced)

    def placed(name: str) -> CodeUnit | None:
        if name in moved and name in fixed.functions:
            return fixed
        return old if name in old.functions and name not in gone else None

    patched = _Code(placed)
    affected = _reaching(old, gone)
    found: list[Violation] = []
    for world, unit in ((World.PRE, old), (World.POST, fixed)):
        names = sorted({f.name for f in unit.functions.values()})
        for name in names:
            runs = placed(name) is unit and name not in unit.opaque
            if runs:
                found += _check(unit, world, name, compiled[world], patched, affected if world is World.PRE else None)
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
        risk = patched.clobbered(transfer.callee) & ~compiled.clobbered(transfer.callee)
        if risk:
            risky[transfer.place] = (transfer, risk)
    if not risky:
        return
    live = compiled.live(name)
    for step in unit.steps(name):
        field = unit.field(step)
        hit = risky.get((step.section, field.r_offset)) if field else None
        if hit and (relied := hit[1] & live[(step.section, step.offset)]):
            section = unit.elf.sections[step.section].name
            yield Violation(name, hit[0].callee, register_names(relied), section, step.offset, world)


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


class _UnitOf:
    """Gives the object whose code runs under a function name, None when it is not of this unit."""

    def __call__(self, name: str) -> CodeUnit | None:
        raise NotImplementedError


class _Code:
    """A world: for each name the code that runs under it, with what it changes and what it keeps live."""

    def __init__(self, unit_of: object) -> None:
        self._unit_of = unit_of
