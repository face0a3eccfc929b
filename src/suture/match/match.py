"""One unit found in one binary: where its functions run, and where its code and data lead."""

from __future__ import annotations

from dataclasses import dataclass, field

from suture.error import ExitCode, SutureError
from suture.match.book import Book
from suture.match.linker_edit import Kind
from suture.match.proof import MatchedUnit
from suture.match.run import Run
from suture.number import Vaddr

_OF_THE_BINARY = (
    "check that version, compiler, flags and build dependencies are those of the shipped binary, and that it holds "
    "this file"
)


class NoMatch(SutureError):
    """The code just compiled is not the code that runs."""

    exit_code = ExitCode.NO_MATCH

    def __init__(self, unit: str, binary: str, reason: str, remedy: str = _OF_THE_BINARY) -> None:
        super().__init__(f"{unit}: not found in {binary}: {reason}", remedy)


@dataclass(frozen=True)
class MatchedFunction:
    """A function of the unit and where it runs: link-time address, size in bytes."""

    name: str
    address: Vaddr
    size: int


@dataclass
class Match:
    """One unit found in one binary."""

    unit: MatchedUnit
    book: Book
    functions: dict[str, MatchedFunction] = field(default_factory=dict)
    verified: frozenset[str] = frozenset()

    def address_of(self, name: str) -> Vaddr | None:
        """Link-time address of a function or variable that the unit defines or refers to directly."""
        placed = self.functions.get(name)
        return placed.address if placed else self.book.address(Kind.ADDRESS, name)

    def leads_to(self, name: str, run: Run) -> Vaddr | None:
        """Where the unit's code and data lead under a name that it does not define; None where that is a PLT entry, or
        nothing."""
        found = self.book.address(Kind.CALL, name)
        found = self.book.address(Kind.ADDRESS, name) if found is None else found
        return None if found in run.plt else found
