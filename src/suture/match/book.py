"""Addresses of symbols with the places that imply them. Contradicting places are an error, never a vote."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field

from suture.error import ExitCode, SutureError
from suture.match.linker_edit import Kind
from suture.number import Vaddr


class Contradiction(SutureError):
    """Two places of the shipped binary imply different values for one symbol."""

    exit_code = ExitCode.NO_MATCH

    def __init__(self, unit: str, symbol: str, kind: Kind, values: dict[int, list[str]]) -> None:
        said = "; ".join(f"{value:#x} by {places[0]}" for value, places in sorted(values.items()))
        super().__init__(
            f"{unit}: contradicting values for {kind.value} of {symbol}: {said}",
            "the source tree or compiler is not the one that the binary was built with; check version and build "
            "dependencies",
        )


@dataclass
class Book:
    """What is known of the symbols of one unit in one binary: (kind, name) to value, with its evidence."""

    unit: str
    _values: dict[tuple[Kind, str], dict[int, list[str]]] = field(default_factory=dict)

    def add(self, kind: Kind, name: str, value: int, place: str) -> None:
        """Note one place. A differing value is kept and found by `check`."""
        self._values.setdefault((kind, name), {}).setdefault(value, []).append(place)

    def get(self, kind: Kind, name: str) -> int | None:
        """The value, None when nothing implies one. Raises `Contradiction`."""
        values = self._values.get((kind, name))
        if values is None:
            return None
        if len(values) > 1:
            raise Contradiction(self.unit, name, kind, values)
        return next(iter(values))

    def address(self, kind: Kind, name: str) -> Vaddr | None:
        """The value of a kind that is an address of the file: what a name means, a call of it, its slot. Raises
        `Contradiction`."""
        assert kind in (Kind.ADDRESS, Kind.CALL, Kind.SLOT)
        value = self.get(kind, name)
        return None if value is None else Vaddr(value)

    def places(self, kind: Kind, name: str) -> tuple[str, ...]:
        """Where a value comes from."""
        return tuple(p for rows in self._values.get((kind, name), {}).values() for p in rows)

    def check(self) -> None:
        """Raises `Contradiction` for the first symbol with two values."""
        for (kind, name), values in self._values.items():
            if len(values) > 1:
                raise Contradiction(self.unit, name, kind, values)

    def agrees(self, rows: Iterator[tuple[Kind, str, int]]) -> bool:
        """Whether all of `rows` fit what is known."""
        return all(value in known for kind, name, value in rows if (known := self._values.get((kind, name))))

    def items(self) -> Iterator[tuple[Kind, str, int, tuple[str, ...]]]:
        """Every (kind, name, value, places), in the order of the first mention."""
        for (kind, name), values in self._values.items():
            for value, places in values.items():
                yield kind, name, value, tuple(places)
