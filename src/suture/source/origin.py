"""Which package and version ships a binary: from its path and build-id, dpkg's records, and the archive's indexes.

The file on disk may be newer than the one that runs. Then the versions that the archive has are compared by build-id.
"""

from __future__ import annotations

import os
import re
import stat
from dataclasses import dataclass
from pathlib import Path

from suture.command import CommandFailed, run
from suture.elf.file import BadElf, ElfFile
from suture.error import NotFound, Refused, Unsupported
from suture.number import BuildId
from suture.progress import Progress, silent
from suture.source.archive import Archive, release_of
from suture.source.mirror import RELEASES

_MOST_OF_A_TEXT = 1 << 16
_FIELDS = "${Package}\t${Version}\t${source:Package}\t${source:Version}\n"


@dataclass(frozen=True)
class Origin:
    """The binary package and source package of a binary. `file` is a file on this host with the build-id asked for."""

    package: str
    version: str
    source: str
    source_version: str
    file: Path


def build_id_of(path: Path) -> BuildId | None:
    """The build-id of a file in hex; None if it is no ELF file or has none."""
    try:
        return ElfFile.read(path).build_id
    except (BadElf, Unsupported, OSError):
        return None


def check_binary(path: Path) -> None:
    """That a file can be looked into, and that processes which run it can be told by its build-id. Raises `Unsupported`
    and `Refused`.

    Linkers make 8 to 20 bytes (ld(1), lld, mold: --build-id); build systems may give any, and zeros where a rewriter
    wanted one.
    """
    if not ElfFile.read(path).sections:
        raise Unsupported(
            f"{path}: it has no section headers, which tell where its code begins and ends",
            "strip it with strip(1), which leaves them (sstrip and llvm-strip --strip-sections do not)",
        )
    build_id = bytes.fromhex(build_id_of(path) or "")
    if not 8 <= len(build_id) <= 64:
        what = f"a build-id of {len(build_id)} bytes" if build_id else "no build-id"
    elif len(set(build_id)) == 1:
        what = f"the build-id {build_id.hex()}, which others may have too"
    else:
        return
    raise Refused(
        f"{path}: it has {what}, so Suture could not tell which processes run it and which run another build",
        "link it with -Wl,--build-id (gcc, clang), start that binary, and make the patch for it",
    )


def identify(
    path: Path,
    build_id: BuildId | None = None,
    root: Path = Path("/"),
    progress: Progress = silent,
    archive: Archive | None = None,
) -> Origin:
    """The origin of the binary at `path` (absolute, inside `root`), or of the one with `build_id` that lay there.

    Of a root that is another than this host's, dpkg's records and the release are believed, and no address of an
    archive. Raises `NotFound` when dpkg does not know the path, or when no version that the archive has carries the
    build-id.
    """
    if ".." in path.parts:
        raise NotFound(f"{path} is no path that a package installs", "give --source NAME=VERSION")
    package = _owner(path, root)
    query = ["dpkg-query", f"--admindir={root / 'var/lib/dpkg'}", "--show", f"--showformat={_FIELDS}", package]
    name, version, source, source_version = run(query).strip().splitlines()[0].split("\t")
    present = root / path.relative_to("/")
    if present.exists() and (build_id is None or build_id_of(present) == build_id):
        return Origin(name, version, source, source_version, present)
    known = archive or Archive(release_of(source, source_version, progress, codename(root)), progress)
    tried = []
    for entry in known.binaries(name):
        progress(f"comparing {path.name} with {entry.package} {entry.version}")
        try:
            folder = known.binary(entry.package, entry.version)
        except NotFound:
            continue
        tried.append(entry.version)
        found = _with_build_id(folder, path.name, build_id)
        if found:
            return Origin(entry.package, entry.version, entry.source, entry.source_version, found)
    raise NotFound(
        f"{path}: build-id {build_id} is that of no version of {name} which the archive has "
        f"(installed {version}; tried {', '.join(tried) or 'none'})",
        "give the version with --source, or set SUTURE_SNAPSHOT to the address of an archive that still has it",
    )


def codename(root: Path) -> str | None:
    """The Debian release that the files of a root are of; None for another system, and for a file that is none
    (os-release(5))."""
    try:
        handle = os.open(root / "etc/os-release", os.O_RDONLY | os.O_NONBLOCK)
    except OSError:
        return None
    with open(handle, "rb") as file:
        text = file.read(_MOST_OF_A_TEXT) if stat.S_ISREG(os.fstat(handle).st_mode) else b""
    found = re.search(rb"^VERSION_CODENAME=[\"']?(\w+)", text, re.M)
    name = found[1].decode() if found else None
    return name if name in RELEASES else None


def _owner(path: Path, root: Path) -> str:
    """The package that owns a path. On merged-/usr systems dpkg may know it with or without /usr (dpkg-query(1))."""
    text = str(path)
    forms = [text, text.removeprefix("/usr") if text.startswith("/usr/") else f"/usr{text}"]
    present = root / path.relative_to("/")
    if present.is_symlink():
        forms.append(str(Path("/") / present.resolve().relative_to(root.resolve())))
    for form in dict.fromkeys(forms):
        try:
            out = run(["dpkg-query", f"--admindir={root / 'var/lib/dpkg'}", "--search", form])
        except CommandFailed:
            continue
        for line in out.splitlines():
            owners, _, _ = line.rpartition(": ")
            if owners and not owners.startswith("diversion"):
                return owners.split(",")[0].strip()
    raise NotFound(
        f"{path} belongs to no package that dpkg knows", "give --source NAME=VERSION, or --tree DIR --binary FILE"
    )


def _with_build_id(folder: Path, name: str, build_id: BuildId | None) -> Path | None:
    """The file of an extracted package with a build-id: files of the same name first, then all."""
    files = [p for p in folder.rglob("*") if p.is_file() and not p.is_symlink()]
    for path in sorted(files, key=lambda p: p.name != name):
        if build_id_of(path) == build_id:
            return path
    return None
