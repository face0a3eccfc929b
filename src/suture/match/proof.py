"""The proof of a match as plain facts; it goes into the manifest. Standard library only: hosts read manifests."""

from __future__ import annotations

from dataclasses import dataclass

from suture.number import Vaddr


@dataclass(frozen=True)
class MatchedSection:
    """A code section of a compiled unit found at link-time `address`: `size` bytes, `compared` of them had to be
    equal."""

    name: str
    size: int
    compared: int
    address: Vaddr


@dataclass(frozen=True)
class MatchedUnit:
    """One translation unit. `whole` says that every code section was found, not only single functions."""

    source: str
    object: str
    whole: bool
    sections: tuple[MatchedSection, ...]
    agreed_symbols: tuple[str, ...]


@dataclass(frozen=True)
class ProvenSymbol:
    """A symbol's address and the places whose filled-in fields imply it."""

    name: str
    address: Vaddr
    implied_by: tuple[str, ...]


@dataclass(frozen=True)
class Proof:
    """Everything that was matched to make one patch."""

    units: tuple[MatchedUnit, ...] = ()
    symbols: tuple[ProvenSymbol, ...] = ()
