"""Which source packages have a newer version in the archive than one that hosts run, from the archive's own signed
indexes."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, replace
from functools import cmp_to_key
from typing import TypeVar

from debian.debian_support import version_compare

from suture.command import CommandFailed, run
from suture.error import NotFound, SutureError
from suture.progress import Progress, silent
from suture.source.archive import Archive

T = TypeVar("T")
_INSTALLED = "${db:Status-Status}\t${Package}\t${source:Package}\t${source:Version}\t${Built-Using}\n"
_KERNEL = "linux"
_SIGNED = re.compile(rf"{_KERNEL}-signed-\w+$")
_BUILT_USING = re.compile(rf"(?:^|,\s*){_KERNEL} \(= ([^)\s]+)\)")


@dataclass(frozen=True)
class Update:
    """A newer version of a source package beside one that hosts run. `flavour` is the kernel's, "" for packages."""

    source: str
    release: str
    old: str
    new: str
    flavour: str = ""

    @property
    def name(self) -> str:
        """Tells updates apart."""
        return " ".join(x for x in (self.source, self.release, self.old, self.new, self.flavour) if x)


@dataclass(frozen=True)
class Wanted:
    """A source package to watch, and the version that hosts run; without one, each older version that the indexes
    list."""

    source: str
    version: str = ""


def updates(wanted: Iterable[Wanted], release: str, progress: Progress = silent) -> tuple[Update, ...]:
    """The updates of packages in a release, each from an older version to the newest. Raises `NotFound` for a package
    that it has not."""
    archive = Archive(release, progress)
    return tuple(u for one in wanted for u in _updates(one, archive))


def _updates(one: Wanted, archive: Archive) -> Iterator[Update]:
    listed = versions(one.source, archive)
    newest = listed[-1]
    for old in (one.version,) if one.version else listed[:-1]:
        if version_compare(old, newest) < 0:
            yield Update(one.source, archive.release, old, newest)


def versions(name: str, archive: Archive) -> list[str]:
    """The versions of a source package that a release lists, from the oldest to the newest. Raises `NotFound` for
    none."""
    listed = ordered({entry.version for entry in archive.sources(name)})
    if not listed:
        raise NotFound(
            f"{archive.release} has no source package {name}",
            "give the name of the source package (apt-cache showsrc NAME prints it as Package)",
        )
    return listed


def newest_that_arrives(name: str, archive: Archive, get: Callable[[str], T], after: str = "") -> T:
    """What `get` gives for the newest version of a source package for which it does not raise `NotFound`; that of the
    oldest is raised. With `after` only versions newer than that are asked for, of which the release lists one."""
    listed = [v for v in versions(name, archive) if not after or version_compare(v, after) > 0]
    for version in reversed(listed):
        try:
            return get(version)
        except NotFound as gone:
            archive.progress(
                f"{name} {version} does not arrive from {archive.release}; looking for the version before it"
            )
            last = gone
    raise last


def arriving(update: Update, progress: Progress = silent) -> Update:
    """The update to the newest version whose source arrives from the release: an archive lists versions whose files it
    does not have yet, or any more. Where none arrives it stays as it is, and the conversion says why."""
    archive = Archive(update.release, progress)

    def get(version: str) -> str:
        archive.source(update.source, version)
        return version

    try:
        return replace(update, new=newest_that_arrives(update.source, archive, get, update.old))
    except SutureError:
        return update


def ordered(versions: Iterable[str]) -> list[str]:
    """Versions from the oldest to the newest (deb-version(7))."""
    return sorted(versions, key=cmp_to_key(version_compare))


def installed() -> tuple[Wanted, ...]:
    """The source packages that this host has installed, with their versions. Raises `NotFound` on a host without
    dpkg."""
    try:
        text = run(["dpkg-query", "--show", f"--showformat={_INSTALLED}"])
    except (CommandFailed, FileNotFoundError) as failed:
        raise NotFound("this host has no list of dpkg's", "name the packages with --package NAME=VERSION") from failed
    rows = [line.split("\t") for line in text.splitlines()]
    found = (_wanted(*r[1:]) for r in rows if len(r) == 5 and r[0] == "installed")
    return tuple(sorted({w for w in found if w}, key=lambda w: (w.source, w.version)))


def _wanted(package: str, source: str, version: str, built_using: str) -> Wanted | None:
    """The source of an installed package, None for one that goes with a kernel and is none.

    A kernel's image is signed in a source package of its own, which holds no code and names the kernel's in Built-Using
    (debian-policy 7.8).
    """
    if source != _KERNEL and not _SIGNED.match(source):
        return Wanted(source, version)
    if not package.startswith("linux-image-"):
        return None
    if source == _KERNEL:
        return Wanted(source, version)
    built = _BUILT_USING.search(built_using)
    return Wanted(_KERNEL, built[1]) if built else None
