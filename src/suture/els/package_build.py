"""Building a source package whole in its release's clean room: its binary packages, its source package, its log.

Everything runs as a user without rights and without a network but its own loopback interface; what it needs was
installed before. The package's own tests run as its rules have it.
"""

from __future__ import annotations

import os
import re
import shutil
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from suture.command import CommandFailed
from suture.compile import room
from suture.compile.room import BUILDER, Room
from suture.progress import Progress, silent
from suture.source.archive import Archive, SourceVersion

LOG = "build.log"
_TOOLS = ("fakeroot",)
_NAME = "builder"
# The folder's name is upstream's, as in the archive's builds, and the same for all versions of a package.
_SCRIPT = """\
cd /build
mv tree {folder}
cd {folder}
export DEB_BUILD_OPTIONS="{options}"
status=0
dpkg-buildpackage --build=full --unsigned-source --unsigned-changes >/build/{log} 2>&1 </dev/null || status=$?
cd /build
rm --recursive --force {folder}
exit $status
"""
_RESULTS = re.compile(r"\.(deb|udeb|dsc|changes|buildinfo)$|\.(orig|debian)[-.\w]*\.tar\.")


@dataclass(frozen=True)
class PackageBuild:
    """What came of a build: the folder with what it made, whether it ended well, and its log."""

    folder: Path
    succeeded: bool
    log: str

    def files(self) -> tuple[Path, ...]:
        """The packages and what describes them, by name."""
        return tuple(sorted(p for p in self.folder.iterdir() if _RESULTS.search(p.name)))

    def debs(self) -> tuple[Path, ...]:
        """The binary packages that hosts install; those for the installer (.udeb) are left out."""
        return tuple(sorted(self.folder.glob("*.deb")))


def building_room(source: SourceVersion, archive: Archive, progress: Progress = silent) -> Room:
    """The clean room that a source package is built in whole: all of its build dependencies, and fakeroot."""
    return room.with_packages(room.for_source(source, archive, (), (), progress, whole=True), _TOOLS, archive, progress)


def build(where: Room, folder: Path, upstream: str, options: Sequence[str] = ()) -> PackageBuild:
    """Build what was laid out in `folder` (`source_package.write`), with `options` of DEB_BUILD_OPTIONS (`nocheck`).
    A build that fails is told, not raised."""
    words = " ".join((f"parallel={os.cpu_count() or 1}", *options))
    script = _SCRIPT.format(folder=upstream, options=words, log=LOG)
    with tempfile.TemporaryDirectory(prefix="suture-els-") as own:
        binds = accounts(where, Path(own))
        try:
            where.enter(script, binds=binds, outputs=[(folder, "/build")], loopback=True)
            succeeded = True
        except CommandFailed:
            succeeded = False
    log = folder / LOG
    text = log.read_text(errors="replace") if log.is_file() and not log.is_symlink() else ""
    if not text:
        succeeded = False
    shutil.rmtree(folder / "tree", ignore_errors=True)
    return PackageBuild(folder, succeeded, text)


def accounts(where: Room, folder: Path) -> list[tuple[Path, str]]:
    """The files of a room's users and groups with the one that builds, made in `folder`, and their places: tests ask
    who runs them."""
    found = []
    for name, row in (
        ("passwd", f"{_NAME}:x:{BUILDER}:{BUILDER}::/nonexistent:/bin/sh"),
        ("group", f"{_NAME}:x:{BUILDER}:"),
    ):
        known = next(layer / "etc" / name for layer in where.layers if (layer / "etc" / name).is_file())
        path = folder / name
        path.write_text(f"{known.read_text()}{row}\n")
        path.chmod(0o644)
        found.append((path, f"/etc/{name}"))
    return found


def varying(one: PackageBuild, other: PackageBuild) -> tuple[str, ...]:
    """Names of binary packages whose bytes two builds made differently, or that one of them has not."""
    a, b = ({p.name: p for p in x.folder.glob("*deb")} for x in (one, other))
    return tuple(n for n in sorted({*a, *b}) if n not in a or n not in b or a[n].read_bytes() != b[n].read_bytes())
