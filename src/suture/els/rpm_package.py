"""A source rpm with more patches, built with rpmbuild in a clean room: as it is, and with them.

The room is a Debian release with rpm's own tools, since no archive of an rpm release is needed to build a package that
needs none of its libraries; what the build needs beside a compiler is named by whoever asks.
"""

from __future__ import annotations

import shlex
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from suture.command import CommandFailed
from suture.compile import room
from suture.compile.room import Room
from suture.els.by_hand import by_hand
from suture.els.comparison import UnpackedPackages
from suture.els.need import Need
from suture.els.package_build import LOG, PackageBuild, accounts
from suture.els.rpm_spec import patched_spec
from suture.els.source_package import CarriedFix
from suture.error import Refused
from suture.progress import Progress, silent
from suture.source import cache, quilt
from suture.source.archive import Archive
from suture.source.fix import parse

TOOLS = ("rpm", "cpio", "createrepo-c", "gpg", "gpg-agent")
_DEFINES = (
    "_topdir /build",
    "_buildhost localhost",
    "debug_package %{nil}",
    "source_date_epoch_from_changelog 1",
    "use_source_date_epoch_as_buildtime 1",
    "clamp_mtime_to_source_date_epoch 1",
)
_UNPACK = (
    "cd /build && mkdir SOURCES SPECS BUILD RPMS SRPMS && cd SOURCES && rpm2cpio ../given.src.rpm | cpio -idm --quiet"
)
_BUILD = "cd /build && rpmbuild --nodeps {options} {what} SOURCES/{spec} >/build/{log} 2>&1 </dev/null"
# One row for each file: what rpm calls it.
_QUERY = (
    "cd /rpms && find . -name '*.rpm' ! -name 'given.src.rpm' | sort | while read -r f; do rpm --query --nosignature "
    "--queryformat '%{NAME} %{EPOCHNUM} %{VERSION} %{RELEASE} %{ARCH}' --package $f; echo \" $f\"; done"
)


@dataclass(frozen=True)
class RpmSource:
    """A source rpm unpacked: its folder for rpmbuild, the spec's file name, and the sources as %prep leaves them."""

    folder: Path
    spec: str
    tree: Path

    def read(self, path: str) -> str | None:
        """The text of a file of the prepared sources; None for no file."""
        return quilt.read(self.tree / path)


@dataclass(frozen=True)
class RpmBuild:
    """What a build made: its log, and rpm files by what the query says of each (name, epoch, version, release,
    arch)."""

    build: PackageBuild
    rpms: Mapping[Path, tuple[str, ...]]


def rpm_room(packages: Sequence[str], archive: Archive, progress: Progress = silent) -> Room:
    """The clean room: rpm's tools, and packages of the Debian release that the build needs."""
    return room.with_packages(room.base(archive, progress), (*TOOLS, *packages), archive, progress)


def unpacked_source(srpm: Path, folder: Path, where: Room) -> RpmSource:
    """Unpack and prepare a source rpm in `folder`, which is made. Raises `Refused`."""
    _lay_out(srpm, folder, where)
    specs = sorted(p.name for p in (folder / "SOURCES").glob("*.spec"))
    if len(specs) != 1:
        raise Refused(f"{srpm}: it has {len(specs)} spec files", "give a source rpm with one")
    _rpmbuild(folder, where, "-bp", specs[0])
    trees = [p for p in (folder / "BUILD").iterdir() if p.is_dir()]
    if len(trees) != 1:
        raise Refused(f"{srpm}: %prep leaves {len(trees)} folders", "give a source rpm whose %prep leaves one")
    return RpmSource(folder, specs[0], trees[0])


def taken(source: RpmSource, patches: Mapping[str, str]) -> tuple[tuple[str, CarriedFix], ...]:
    """Patches by a CVE that each is for, as fixes of this source, with the names of their files. Raises `Refused`."""
    found = []
    texts: dict[str, str | None] = {}

    def read(path: str) -> str | None:
        return texts[path] if path in texts else source.read(path)

    for cve, text in patches.items():
        name = f"suture-{cve}.patch"
        made = by_hand(text, name, read)
        texts |= {c.path: c.after for c in made.carried}
        found.append((name, CarriedFix(Need((cve,), (parse(text, name),)), made)))
    return tuple(found)


def build(srpm: Path, folder: Path, where: Room, patches: Mapping[str, str] = {}, entry: str = "") -> RpmBuild:
    """Build a source rpm in `folder`, with patches by the names of their files. Its %check runs; where only that fails,
    the packages are those of a build without it, the log is that of the one with it, and the build counts as one that
    did not succeed. Raises `Refused` with the end of the log."""
    _lay_out(srpm, folder, where)
    spec = next((folder / "SOURCES").glob("*.spec"))
    if patches:
        for name, text in patches.items():
            (folder / "SOURCES" / name).write_bytes(text.encode(errors="surrogateescape"))
        text = patched_spec(spec.read_text(errors="surrogateescape"), list(patches), entry)
        spec.write_text(text, errors="surrogateescape")
    try:
        _rpmbuild(folder, where, "-ba", spec.name)
        succeeded, log = True, _log(folder)
    except Refused:
        succeeded, log = False, _log(folder)
        _rpmbuild(folder, where, "-ba --nocheck", spec.name)
    return RpmBuild(PackageBuild(folder, succeeded, log), queried(folder, where))


def queried(folder: Path, where: Room) -> Mapping[Path, tuple[str, ...]]:
    """The rpm files below a folder, each with name, epoch, version, release and arch."""
    rows = where.enter(_QUERY, binds=[(folder, "/rpms")]).splitlines()
    return {folder / words[-1]: tuple(words[:-1]) for words in (row.split(" ", 5) for row in rows)}


def unpacked_rpms(made: RpmBuild, folder: Path, where: Room) -> UnpackedPackages:
    """The binary packages unpacked below `folder`, by name."""
    binary = {path: facts for path, facts in made.rpms.items() if path.parent.name != "SRPMS"}
    folder.mkdir(parents=True)
    rows = []
    for path, facts in binary.items():
        place, inside = shlex.quote(f"/into/{facts[0]}"), shlex.quote(f"/rpms/{path.relative_to(made.build.folder)}")
        rows.append(f"mkdir {place} && cd {place} && rpm2cpio {inside} | cpio -idm --quiet --no-absolute-filenames")
    where.enter("\n".join(rows), binds=[(made.build.folder, "/rpms")], outputs=[(folder, "/into")])
    return UnpackedPackages({facts[0]: folder / facts[0] for facts in binary.values()})


def _lay_out(srpm: Path, folder: Path, where: Room) -> None:
    cache.discard(folder)
    folder.mkdir(parents=True)
    (folder / "given.src.rpm").write_bytes(srpm.read_bytes())
    where.enter(_UNPACK, outputs=[(folder, "/build")])


def _rpmbuild(folder: Path, where: Room, what: str, spec: str) -> None:
    options = " ".join(f"--define {shlex.quote(d)}" for d in _DEFINES)
    script = _BUILD.format(options=options, what=what, spec=shlex.quote(spec), log=LOG)
    try:
        with tempfile.TemporaryDirectory(prefix="suture-els-") as own:
            where.enter(script, binds=accounts(where, Path(own)), outputs=[(folder, "/build")], loopback=True)
    except CommandFailed as failed:
        text = _log(folder) or failed.output
        raise Refused(
            f"rpmbuild {what} {spec} fails:\n" + "\n".join(text.splitlines()[-15:]),
            "name what it needs with --room-package, or mend the patch",
        ) from failed


def _log(folder: Path) -> str:
    log = folder / LOG
    return log.read_text(errors="replace") if log.is_file() and not log.is_symlink() else ""
