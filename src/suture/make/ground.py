"""What is known of a shipped binary before any fix: what it holds, and where the units of its tree are in it.

It is worked out once, however many fixes are tried on it.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path

from suture.compile.tree import Tree
from suture.compile.unit import Binary, Unit
from suture.elf.file import ElfFile
from suture.make.elsewhere import Beside, OtherUnits
from suture.match.book import Contradiction
from suture.match.correlate import correlate
from suture.match.match import Match, NoMatch
from suture.match.run import Run


@dataclass(frozen=True)
class Shipped:
    """A shipped file to make a patch for: where it lies here, and what it is called where it is installed."""

    binary: Binary
    path: Path
    version: str

    @property
    def file(self) -> str:
        return Path(self.binary.file).name


@dataclass
class Ground:
    """A shipped binary beside the tree that it was built from, without a fix. `beside` gives all binaries of its
    package."""

    tree: Tree
    item: Shipped
    beside: Beside = tuple
    _matches: dict[str, Match | NoMatch | Contradiction] = field(default_factory=dict)

    @cached_property
    def run(self) -> Run:
        """Raises what `Run.read` does."""
        return Run.read(self.item.path)

    @cached_property
    def elsewhere(self) -> OtherUnits:
        """All units of the binary."""
        return OtherUnits(self.tree, self.item.binary, self.run, self.beside)

    def match(self, unit: Unit, plain: ElfFile, sectioned: ElfFile) -> Match:
        """Where a unit is in the binary, of its objects as it was shipped. Raises `NoMatch` and `Contradiction`."""
        if unit.object not in self._matches:
            try:
                one = correlate(unit.source, unit.object, plain, sectioned, self.run, self.elsewhere.called)
                self._matches[unit.object] = one
            except (NoMatch, Contradiction) as unlike:
                self._matches[unit.object] = unlike
        found = self._matches[unit.object]
        if isinstance(found, Match):
            return found
        raise found
