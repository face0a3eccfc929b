"""A source package with backported fixes: patches at the end of its series, and a changelog entry that says what they
are and where each came from."""

from __future__ import annotations

import textwrap
from collections.abc import Sequence
from dataclasses import dataclass
from email.utils import formatdate
from pathlib import Path

from suture.command import run
from suture.els import patch
from suture.els.backport import Backport
from suture.els.need import Need
from suture.error import Unsupported
from suture.source.archive import SourceVersion

QUILT = "3.0 (quilt)"
SUITE = "-suture"
"""What the suite of a release's packages is called, after the release's name."""


@dataclass(frozen=True)
class CarriedFix:
    """A fix that was carried whole, and the name that its patch has in the series."""

    need: Need
    found: Backport

    @property
    def name(self) -> str:
        return f"suture-{self.need.name.replace('/', '_').removesuffix('.patch')}.patch"


def check_format(source: SourceVersion) -> None:
    """Raises `Unsupported` for a source package without a series of patches."""
    place = source.tree / "debian/source/format"
    said = place.read_text().strip() if place.is_file() else "1.0"
    if said != QUILT:
        raise Unsupported(
            f"{source.name} {source.version} is a source package in format {said}, which has no series of patches",
            "add the fix by hand; suture els backport writes it as a patch",
        )


def write(
    folder: Path, old: SourceVersion, newer: SourceVersion, fixes: Sequence[CarriedFix], version: str, maintainer: str
) -> None:
    """Lay the new version out in an empty folder, ready for dpkg-buildpackage: upstream's files and the tree `tree`."""
    for path in old.dsc.parent.glob(f"{old.name}_{old.upstream}.orig*"):
        run(["cp", "--reflink=auto", str(path), str(folder)])
    tree = folder / "tree"
    run(["cp", "--archive", "--reflink=auto", str(old.tree), str(tree)])
    if not fixes:
        return
    patches = tree / "debian/patches"
    patches.mkdir(exist_ok=True)
    series = patches / "series"
    before = series.read_text() if series.is_file() else ""
    series.write_text(before.rstrip("\n") + "\n" * bool(before) + "".join(f"{f.name}\n" for f in fixes))
    for fix in fixes:
        text = patch.text(fix.need, fix.found, newer)
        (patches / fix.name).write_bytes(text.encode(errors="surrogateescape"))
    changelog = tree / "debian/changelog"
    said = entry(old, newer, fixes, version, maintainer)
    changelog.write_text(said + changelog.read_text(errors="surrogateescape"), errors="surrogateescape")


def entry(old: SourceVersion, newer: SourceVersion, fixes: Sequence[CarriedFix], version: str, maintainer: str) -> str:
    """The changelog entry (deb-changelog(5)). Its time is that of the newest entry it stands on, so that the same
    fixes make the same bytes."""
    rows = []
    for fix in fixes:
        names = ", ".join(p.name for p in fix.need.patches)
        said = f"{', '.join(fix.need.cves) or names}: backported from {newer.name} {newer.version} ({names})"
        rows += textwrap.wrap(said, 76, initial_indent="  * ", subsequent_indent="    ")
    when = formatdate(max(old.epoch_seconds, newer.epoch_seconds) + 1)
    head = f"{old.name} ({version}) {old.release}{SUITE}; urgency=medium"
    return "\n".join([head, "", *rows, "", f" -- {maintainer}  {when}", "", ""])
