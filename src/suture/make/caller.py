"""Who refers to an address, in the whole shipped binary: what must be known before a function may take other arguments.

A superset: every four bytes of code that would lead there if they were a displacement count, whether they are one or
not. Left out are jumps with a displacement of one byte: those stay inside a compiled unit, whose new code is compared
with the old.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from suture.elf import abi
from suture.match.run import Run
from suture.number import Vaddr

_AFTER = (
    0,
    1,
    2,
    4,
)  # bytes of immediate operand between a displacement and the end of its instruction (Intel SDM 2.2.1.6)
_CALL, _JUMP, _TWO_BYTES = 0xE8, 0xE9, 0x0F


@dataclass(frozen=True)
class ReferringField:
    """A field that holds an address or leads to it. Not a branch: the address may have been kept anywhere."""

    address: Vaddr
    is_branch: bool


def places_that_refer(run: Run, address: Vaddr) -> list[ReferringField] | None:
    """All fields, in code or filled in by the loader, that hold a link-time address or lead to it.

    None where that can't be told: a binary that is not position-independent may hold the address as a plain number
    anywhere.
    """
    if run.elf.e_type == abi.ET_EXEC:
        return None
    found = [ReferringField(s.address, False) for s in run.slots.values() if s.value == address]
    for section in run.elf.sections:
        if section.is_code:
            code = run.elf.bytes_of(section)
            found += [
                ReferringField(Vaddr(section.sh_addr + at), _is_branch(code, at))
                for at in _leading(code, address - section.sh_addr)
            ]
    return found


def _leading(code: bytes, target: int) -> Iterator[int]:
    """Offsets of displacements in code that lead to `target`, an offset from the code's start."""
    for shift in range(4):
        size = (len(code) - shift) // 4 * 4
        # of the field at shift + 4n, value + 4n is the same for all that lead to one place
        wanted = {target - shift - 4 - after for after in _AFTER}
        for n, value in enumerate(memoryview(code)[shift : shift + size].cast("i")):
            # an operand that names the very next instruction would be the last of a function that runs on into this
            # one: it is padding
            if value + 4 * n in wanted and (value or _is_branch(code, shift + 4 * n)):
                yield shift + 4 * n


def _is_branch(code: bytes, at: int) -> bool:
    """Whether the byte before a displacement is the opcode of a near call or jump.

    None of them is a ModRM byte of a RIP-relative operand, which has mod 0 and rm 5.
    """
    one = code[at - 1] if at > 0 else 0
    two = code[at - 2] if at > 1 else 0
    return one in (_CALL, _JUMP) or (two == _TWO_BYTES and one & 0xF0 == 0x80)
