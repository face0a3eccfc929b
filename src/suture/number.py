"""Numbers that must not mix, each with a type of its own: mypy refuses an address of the file where one of the process
is wanted.

When the program runs they are plain numbers. What is counted with one is a plain number again, so whoever makes an
address of that says of which kind it is. One kind becomes another by the functions below.
"""

from __future__ import annotations

from typing import NewType

Address = NewType("Address", int)
"""Where something lies in the memory of a process (or of the running kernel)."""

NOWHERE = Address(0)
"""Where nothing lies: the address of what is not there."""

Vaddr = NewType("Vaddr", int)
"""A link-time address: where something lies by the file (gABI: p_vaddr, sh_addr, st_value of a linked file)."""

Bias = NewType("Bias", int)
"""The load bias of an image: what the loader adds to each of its link-time addresses. May be negative."""

FileOffset = NewType("FileOffset", int)
"""Where something lies in a file, in bytes from its start (p_offset, sh_offset)."""

SectionOffset = NewType("SectionOffset", int)
"""Where something lies in a section of an object, in bytes from its start (r_offset and st_value of a relocatable
file)."""

BuildId = NewType("BuildId", str)
"""What identifies a linked file: its GNU build-id, in hex digits. The id of a patch is another thing."""

_MASK = (1 << 64) - 1


def in_process(at: Vaddr, bias: Bias) -> Address:
    """Where an image that is loaded with this bias has what its file has at `at`."""
    return Address((at + bias) & _MASK)


def in_file(at: Address, bias: Bias) -> Vaddr:
    """Where the file has what its image, loaded with this bias, has at `at`."""
    return Vaddr((at - bias) & _MASK)


def bias_between(here: Address, there: Vaddr) -> Bias:
    """The load bias of an image that has at `here` what its file has at `there`."""
    return Bias(here - there)
