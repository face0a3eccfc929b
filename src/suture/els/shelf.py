"""Built packages on disk: one folder for each version, DIR/PACKAGE/VERSION, with its files and what came of it. The
facts come last, so that a folder with them is whole. A person's word for one lies beside them."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

from suture import whole_file
from suture.error import BadOption, NotFound
from suture.report.document import BackportReport, Document, ElsBuildReport
from suture.report.encoding import NoDocument, decode, encode
from suture.report.moment import now
from suture.source import cache

FACTS, WORD, CARRIED, PATCHES = "build.json", "accepted.json", "carried.json", "patches"


@dataclass(frozen=True)
class BuiltShelf:
    """The folder of all built packages."""

    folder: Path

    def place(self, package: str, version: str) -> Path:
        """Where a version lies, or would lie."""
        return self.folder / package / cache.safe(version)

    def keep(self, report: ElsBuildReport) -> None:
        """Write what came of a build into its folder."""
        whole_file.replace(Path(report.folder) / FACTS, _encoded(report))

    def builds(self, package: str = "") -> Iterator[ElsBuildReport]:
        """The builds that are whole, by package. One that cannot be read is passed over, as one half made is."""
        for path in sorted(self.folder.glob(f"{package or '*'}/*/{FACTS}")):
            found = _read(path)
            if isinstance(found, ElsBuildReport):
                yield found

    def keep_carried(self, report: BackportReport) -> None:
        """Write what came of carrying a package's fixes. What is known of other fixes stays, if it is of the same two
        versions."""
        known = next(self.carried(report.package), None)
        if known and (known.version, known.from_version) == (report.version, report.from_version):
            new = {(f.cves, f.patches) for f in report.fixes}
            kept = (f for f in known.fixes if (f.cves, f.patches) not in new)
            report = replace(report, fixes=(*report.fixes, *kept))
        whole_file.replace(self.folder / report.package / CARRIED, _encoded(report))

    def carried(self, package: str = "") -> Iterator[BackportReport]:
        """What came of carrying, by package."""
        for path in sorted(self.folder.glob(f"{package or '*'}/{CARRIED}")):
            found = _read(path)
            if isinstance(found, BackportReport):
                yield found

    def accept(self, word: str, who: str) -> Path:
        """Write down that a person takes PACKAGE=VERSION as it is. Raises `NotFound` and `BadOption`."""
        package, sign, version = word.partition("=")
        if not sign or not version or "/" in package:
            raise BadOption(f"{word!r} is no PACKAGE=VERSION", "suture els status lists them")
        place = self.place(package, version)
        if not (place / FACTS).is_file():
            raise NotFound(f"{self.folder} has no {package} {version}", "suture els status lists what was built")
        whole_file.replace(place / WORD, json.dumps({"who": who, "time": now()}).encode() + b"\n")
        return place

    def is_accepted(self, report: ElsBuildReport) -> bool:
        """Whether a person has taken it."""
        return (self.place(report.package, report.made) / WORD).is_file()


def _read(path: Path) -> Document | None:
    try:
        return decode(json.loads(path.read_text()))
    except (OSError, ValueError, NoDocument):
        return None


def _encoded(report: Document) -> bytes:
    return json.dumps(encode(report), indent=1).encode() + b"\n"
