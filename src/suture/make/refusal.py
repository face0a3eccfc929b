"""Why a changed function of a user-space binary can't be replaced live, in words, and what a person can do."""

from __future__ import annotations

from suture.delta.change import UnitChange
from suture.delta.clobber import Violation
from suture.delta.layout import SignatureChange, changed_layouts
from suture.make.relaxed import REMEDY
from suture.refusal import RESTART, Refusal


def chooses() -> Refusal:
    return Refusal(
        "it chooses an implementation when the program is loaded (IFUNC), which has happened already",
        RESTART,
    )


def layout_problem(change: UnitChange) -> Refusal | None:
    layouts = [c for c in changed_layouts(change.pre.elf, change.post.elf, change.replaced) if c.outlives]
    if not layouts:
        return None
    first = layouts[0]
    return Refusal(
        f"the fix changes the layout of {first.name} ({first.file}:{first.line}: {first.what}); objects that exist "
        "already would be misread",
        f"keep the layout in the fix (a shadow table beside it), or {RESTART}",
    )


def vtable_problem(change: UnitChange) -> Refusal | None:
    changed = change.difference.changed_constants
    tables = sorted(a.label for a in change.post.atoms.values() if a.is_vtable and a.label in changed)
    if not tables:
        return None
    return Refusal(
        f"the fix changes the table of virtual functions {tables[0]}; objects that exist already keep the old one",
        f"keep the class's virtual functions as they are in the fix, or {RESTART}",
    )


def clobber_problem(hit: Violation, by_old_frame: bool) -> Refusal:
    if not hit.registers:
        return Refusal(
            f"a relaxed patch lets old frames of {hit.caller} go on, which may call {hit.callee} with a stack that "
            "is not aligned as the new code needs it",
            REMEDY,
        )
    registers = ", ".join(sorted(hit.registers))
    keeps = f"{hit.caller} keeps {registers} across its call of {hit.callee}, which the new code changes (-fipa-ra)"
    if by_old_frame:
        return Refusal(f"a relaxed patch lets old frames of {hit.caller} go on, and {keeps}", REMEDY)
    return Refusal(keeps, f"touch {hit.caller} in the fix, so that it is replaced too")


def signature_problem(one: SignatureChange) -> Refusal:
    return Refusal(
        f"the fix changes the parameters of {one.name} ({one.file}:{one.line}: {one.old} to {one.new}), which other "
        "code calls as before",
        f"give the new function another name in the fix, or {RESTART}",
    )
