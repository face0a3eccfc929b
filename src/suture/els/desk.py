"""What a person does with fixes that wait: sees both sides, finishes a patch, takes a built package."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from suture import whole_file
from suture.els.carry import Carrier
from suture.els.grade import doubts
from suture.els.need import Need, chosen, needs, ordered
from suture.els.review import reviewed
from suture.els.shelf import BuiltShelf
from suture.error import NotFound
from suture.report.document import BackportReport, ElsBuildReport
from suture.report.els import BackportedFix, ElsGrade, ElsHole, ElsPackage, ReviewedFix
from suture.source.archive import SourceVersion

Sources = Callable[[BackportReport], tuple[SourceVersion, SourceVersion]]
"""The older and the newer release's source of what was compared."""


@dataclass(frozen=True)
class ReviewDesk:
    """Where a person called `who` looks at what lies in a shelf. Patches that are being finished lie in `drafts`;
    `standing` tells where a package's holes stand, of all packages without a name."""

    shelf: BuiltShelf
    drafts: Path
    who: str
    sources: Sources
    standing: Callable[[str], tuple[ElsPackage, ...]]

    def package(self, name: str) -> ElsPackage:
        """Where a package's holes stand. Raises `NotFound`, for whatever is no package of the shelf."""
        found = next((p for p in self.standing("") if p.package == name), None)
        if found is None:
            raise NotFound(f"nothing is known of {name}", "suture els status lists the packages")
        return found

    def waiting(self, package: str) -> tuple[ElsBuildReport, ...]:
        """Built versions that need a person's word and have none."""
        return tuple(
            b for b in self.shelf.builds(package) if b.grade is ElsGrade.REVIEW and not self.shelf.is_accepted(b)
        )

    def fix(self, package: str, name: str) -> ReviewedFix:
        """Both sides of a fix, carried onto the fixes before it. Raises `NotFound`, and as fetching a source does."""
        row, need, carrier = self._until(package, name)
        one = carrier.carry(need)
        return reviewed(row, need, one, carrier.newer, carrier.read)

    def draft(self, package: str, fix: ReviewedFix) -> str:
        """The patch that a person is at: what was kept, else what was made, else the newer release's."""
        path = self.path(package, name_of(fix.fix))
        if path.is_file():
            return path.read_bytes().decode(errors="surrogateescape")
        return "".join(f.older or f.newer for f in fix.files)

    def keep(self, package: str, name: str, text: str) -> tuple[str, ...]:
        """Keep a patch, and try it: the files that it changes. Raises `Refused` where it does not apply; it is kept all
        the same."""
        _, need, carrier = self._until(package, name)
        whole_file.replace(self.path(package, name), text.encode(errors="surrogateescape"))
        return tuple(c.path for c in carrier.take(need, text).carried)

    def path(self, package: str, name: str) -> Path:
        """Where the draft of a fix lies."""
        return self.drafts / package / f"{name.replace('/', '_').removesuffix('.patch')}.patch"

    def accept(self, package: str, version: str) -> None:
        """Take a built version that waits. Raises `NotFound`."""
        if version not in {b.made for b in self.waiting(self.package(package).package)}:
            raise NotFound(f"{package} {version} does not wait for anybody", "suture els status lists what waits")
        self.shelf.accept(f"{package}={version}", self.who)

    def _until(self, package: str, name: str) -> tuple[BackportedFix, Need, Carrier]:
        """A fix, and a carrier that has made those before it."""
        report = next((r for r in self.shelf.carried() if r.package == package), None)
        row = next((f for f in report.fixes if name_of(f) == name), None) if report else None
        if report is None or row is None:
            raise NotFound(f"nothing is known of {name} in {package}", f"suture els status {package} lists its fixes")
        old, newer = self.sources(report)
        [need] = chosen(newer, [name])
        carrier = Carrier(old, newer)
        for before in ordered(needs(old, newer), newer):
            if set(before.patches) & set(need.patches):
                break
            carrier.carry(before, keep=lambda found: not doubts(found))
        return row, need, carrier


def name_of(fix: BackportedFix | ElsHole) -> str:
    """What a fix, or where it stands, is called by: its first CVE, or its first patch."""
    return (fix.cves or fix.patches)[0]
