"""The Debian archive: which versions it has, sources and binaries of a version, extracted and cached.

apt downloads and verifies; dpkg-source applies the quilt series. The host's apt configuration is not touched
(`suture.source.mirror`).
"""

from __future__ import annotations

import hashlib
import re
import time
from contextlib import suppress
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from debian.deb822 import Deb822

from suture.command import CommandFailed, run
from suture.error import ExitCode, NotFound, SutureError
from suture.progress import Progress, silent
from suture.source import cache, mirror

_FRESH = 24 * 3600.0
_KEYRINGS = ("debian-keyring.gpg", "debian-maintainers.gpg")


@dataclass(frozen=True)
class SourceVersion:
    """A source package of one version, unpacked with all its patches applied."""

    name: str
    version: str
    release: str
    dsc: Path
    tree: Path

    @property
    def upstream(self) -> str:
        """The version without epoch and Debian revision, as in the name of the unpacked folder."""
        return upstream_of(self.version)

    @property
    def epoch_seconds(self) -> int:
        """SOURCE_DATE_EPOCH as dpkg-buildpackage sets it: the time of the newest changelog entry."""
        out = run(["dpkg-parsechangelog", f"--file={self.tree / 'debian/changelog'}", "--show-field=Timestamp"])
        return int(out)


@dataclass(frozen=True)
class SourceEntry:
    """A source package that the archive's indexes list. `files` are names and SHA-256 in hex, `description` what they
    say of it in the form of a .dsc."""

    name: str
    version: str
    directory: str
    files: tuple[tuple[str, str], ...] = ()
    description: str = ""


@dataclass(frozen=True)
class BinaryEntry:
    """A binary package that the archive's indexes list, with the source that it was built from."""

    package: str
    version: str
    source: str
    source_version: str


def upstream_of(version: str) -> str:
    """`1:2.36-9+deb12u7` gives `2.36` (deb-version(7))."""
    bare = version.partition(":")[2] or version
    return bare.rpartition("-")[0] or bare


def named_release(version: str) -> str | None:
    """The release whose updates carry a number that a version has (`+deb12u7`); None for a version without one."""
    found = re.search(r"[~+]deb(\d+)u\d", version)
    return next((name for name, number in mirror.RELEASES.items() if found and number == int(found[1])), None)


def release_of(name: str, version: str, progress: Progress = silent, otherwise: str | None = None) -> str:
    """The release whose indexes list a version of a source package, the oldest of several, since a package that was
    carried over was built there. An update that no index lists any more belongs to the release that it names, if that
    has the package.

    A version that is nowhere to be found is taken for one of the release `otherwise`. Raises `NotFound`, and `BadName`.
    """
    _check_names(name, version)
    named = named_release(version)
    if named is not None and _lists(named, name, None, progress):
        return named
    for release in mirror.RELEASES:
        if release != named and _lists(release, name, version, progress):
            return release
    chosen = named or otherwise
    if chosen is None:
        raise NotFound(
            f"the archive's indexes list no {name} {version} (looked in {', '.join(mirror.RELEASES)})",
            "choose a version that they list, or set SUTURE_SNAPSHOT to the address of an archive that still has it "
            "(main, then security)",
        )
    return chosen


def _lists(release: str, name: str, version: str | None, progress: Progress) -> bool:
    """Whether a release's indexes list a source version, or any of the package. A yes is kept for good."""
    known = cache.root() / "release" / release / name / (cache.safe(version) if version else "any")
    if not known.exists():
        try:
            listed = {entry.version for entry in Archive(release, progress).sources(name)}
        except CommandFailed:  # a mirror that does not have the release
            return False
        if not listed or (version is not None and version not in listed):
            return False
        known.parent.mkdir(parents=True, exist_ok=True)
        known.touch()
    return True


class BadName(SutureError):
    """A package or version is not one that the archive could have."""

    exit_code = ExitCode.USAGE


def _check_names(package: str, version: str) -> None:
    """That words which a patch may bring are names of packages and versions, before they become paths and arguments.

    Debian Policy 5.6.1 and 5.6.12.
    """
    if not re.fullmatch(r"[a-z0-9][a-z0-9+.-]+", package) or ".." in package:
        raise BadName(f"{package!r} is no name of a package", "give it as the archive spells it, for example libxml2")
    if not re.fullmatch(r"[0-9A-Za-z.+:~-]+", version) or version.startswith(("-", ".")):
        raise BadName(f"{version!r} is no version", "give it as the archive spells it, for example 3.0.17-1~deb12u2")


class Archive:
    """The archive of one release, through an apt of our own under the cache folder."""

    def __init__(self, release: str, progress: Progress = silent) -> None:
        self.release = release
        self.progress = progress
        self.folder = cache.root() / "apt" / release

    @cached_property
    def _ready(self) -> dict[str, str]:
        """Environment for apt, after the indexes have been brought up to date (once a day)."""
        env = {"APT_CONFIG": str(self.folder / "apt.conf"), "LC_ALL": "C.UTF-8", "DEBIAN_FRONTEND": "noninteractive"}
        sources = mirror.sources_list(mirror.find(), self.release)
        stamp, known = self.folder / "stamp", self.folder / "sources.list"

        def is_fresh() -> bool:
            return stamp.exists() and time.time() - stamp.stat().st_mtime < _FRESH and known.read_text() == sources

        if is_fresh():
            return env  # without the lock, which is held for as long as others install
        with cache.locked(self.folder):
            if not is_fresh():
                stamp.unlink(missing_ok=True)
                for name in ("state/lists/partial", "cache/archives/partial"):
                    (self.folder / name).mkdir(parents=True, exist_ok=True)
                (self.folder / "state/status").touch()
                known.write_text(sources)
                (self.folder / "apt.conf").write_text(mirror.configuration(self.folder))
                self.progress(f"reading the indexes of {self.release}")
                run(["apt-get", "--quiet", "--error-on=any", "update"], env=env)
                run(["apt-cache", "gencaches"], env=env)
                stamp.touch()
        return env

    @property
    def lists(self) -> Path:
        """Folder of the verified indexes, for the apt inside a clean room."""
        _ = self._ready
        return self.folder / "state/lists"

    @property
    def debs(self) -> Path:
        """Folder of downloaded .deb files, for the apt inside a clean room."""
        _ = self._ready
        return self.folder / "cache/archives"

    @property
    def sources_list(self) -> Path:
        """The apt sources of this release."""
        _ = self._ready
        return self.folder / "sources.list"

    @property
    def configuration(self) -> Path:
        """The apt.conf that points at our own folders."""
        _ = self._ready
        return self.folder / "apt.conf"

    def sources(self, name: str) -> tuple[SourceEntry, ...]:
        """All versions of a source package in the indexes, in the order of the apt sources. Empty if there is none."""
        text = run(["apt-cache", "showsrc", "--only-source", name], env=self._ready, accept=frozenset({0, 100}))
        rows = [
            SourceEntry(b["Package"], b["Version"], b["Directory"], _checksums(b), _description(b))
            for b in Deb822.iter_paragraphs(text)
        ]
        return tuple(dict.fromkeys(r for r in rows if r.name == name))

    def binaries(self, package: str) -> tuple[BinaryEntry, ...]:
        """All versions of a binary package in the indexes, in the order of the apt sources. Empty if there is none."""
        text = run(["apt-cache", "show", "--all-versions", package], env=self._ready, accept=frozenset({0, 100}))
        rows = []
        for block in Deb822.iter_paragraphs(text):
            name, _, version = str(block.get("Source", block["Package"])).partition(" ")
            rows.append(BinaryEntry(block["Package"], block["Version"], name, version.strip("() ") or block["Version"]))
        return tuple(dict.fromkeys(rows))

    def packages(self, prefix: str) -> tuple[str, ...]:
        """Names of binary packages that begin with `prefix`, sorted."""
        return tuple(sorted(run(["apt-cache", "pkgnames", prefix], env=self._ready).split()))

    def source(self, name: str, version: str) -> SourceVersion:
        """Download, verify and unpack a source package, once.

        Raises `NotFound` when the archive does not have it (any more).
        """
        _check_names(name, version)
        place = cache.root() / "source" / name / cache.safe(version)

        def make(folder: Path) -> None:
            self.progress(f"fetching the source of {name} {version}")
            folder.mkdir()
            dsc = self._download_source(name, version, folder)
            run(["dpkg-source", "--no-check", "--extract", dsc.name, "tree"], cwd=folder)

        cache.item(place, make)
        return SourceVersion(name, version, self.release, next(place.glob("*.dsc")), place / "tree")

    def packaging(self, name: str, version: str) -> Path:
        """The debian/ folder of a source package in format 3.0 (quilt); the upstream source is not fetched.

        Raises `NotFound` when the archive does not have it (any more).
        """
        _check_names(name, version)
        place = cache.root() / "packaging" / name / cache.safe(version)

        def make(folder: Path) -> None:
            self.progress(f"fetching the packaging of {name} {version}")
            folder.mkdir()
            only = ["--download-only", "--only-source", "--diff-only"]
            try:
                run(["apt-get", "--quiet", *only, "source", f"{name}={version}"], env=self._ready, cwd=folder)
            except CommandFailed as failed:
                listed = self.sources(name)
                own = [f for e in listed if e.version == version for f in e.files if ".debian.tar." in f[0]]
                if not any(self._is_fetched(folder / file, digest, _bases(listed)) for file, digest in own):
                    known = [e.version for e in listed]
                    raise self._gone(f"source package {name}", version, known) from failed
            packed = next(folder.glob("*.debian.tar.*"), None)
            if packed is None:
                raise NotFound(
                    f"source package {name} {version} has no packaging of its own: it is not in the format 3.0 (quilt)",
                    "choose a package in that format",
                )
            run(["tar", "--extract", f"--file={packed.name}"], cwd=folder)

        return cache.item(place, make) / "debian"

    def binary(self, package: str, version: str) -> Path:
        """Download, verify and extract a binary package, once; the folder that holds its files.

        Raises `NotFound` when the archive does not have it (any more).
        """
        _check_names(package, version)
        place = cache.root() / "binary" / package / cache.safe(version)

        def make(folder: Path) -> None:
            self.progress(f"fetching {package} {version}")
            folder.mkdir()
            try:
                run(["apt-get", "--quiet", "download", f"{package}={version}"], env=self._ready, cwd=folder)
            except CommandFailed as failed:
                raise self._gone(
                    f"binary package {package}", version, [b.version for b in self.binaries(package)]
                ) from failed
            deb = next(folder.glob("*.deb"))
            run(["dpkg-deb", "--extract", deb.name, "root"], cwd=folder)
            deb.unlink()

        return cache.item(place, make) / "root"

    def built_from(self, package: str, source_version: str) -> Path:
        """The files of the binary package that was built from a source version; its own version differs when it was
        only rebuilt (`+b1`). Raises `NotFound`."""
        _check_names(package, source_version)
        place, name = cache.root() / "binary" / package, cache.safe(source_version)
        if (place / name).exists():
            return self.binary(package, source_version)
        here = [p.name for p in place.glob(f"{name}+b*")] if place.exists() else []
        rebuilt = [b.version for b in self.binaries(package) if b.source_version == source_version] if not here else []
        return place / max(here) / "root" if here else self.binary(package, rebuilt[0] if rebuilt else source_version)

    def _download_source(self, name: str, version: str, folder: Path) -> Path:
        command = ["apt-get", "--quiet", "--download-only", "--only-source", "source", f"{name}={version}"]
        listed = self.sources(name)
        try:
            run(command, env=self._ready, cwd=folder)
        except CommandFailed as failed:
            own = next((e for e in listed if e.version == version), None)
            found = self._rest_from_pool(own, listed, folder) if own else self._from_pool(name, version, listed, folder)
            if found:
                return found
            raise self._gone(f"source package {name}", version, [e.version for e in listed]) from failed
        return next(folder.glob("*.dsc"))

    def _from_pool(self, name: str, version: str, listed: tuple[SourceEntry, ...], folder: Path) -> Path | None:
        """A source that the indexes no longer list may still lie beside those that they do; its uploader's signature
        stands in for that of the index, so without the uploaders' keyrings nothing is taken."""
        keyrings = [p for p in (Path("/usr/share/keyrings") / k for k in _KEYRINGS) if p.exists()]
        if not keyrings:
            return None
        dsc = f"{name}_{version.partition(':')[2] or version}.dsc"
        for base in _bases(listed):
            try:
                self._get(f"{base}/{dsc}", folder / dsc)
                signed = run(
                    ["gpgv", "--quiet", *(f"--keyring={k}" for k in keyrings), "--output", "-", dsc], cwd=folder
                )
                rows = _checksums(Deb822(signed))
                for file, _ in rows:
                    self._get(f"{base}/{file}", folder / file)
            except CommandFailed:
                continue
            if all(_sha256(folder / file) == digest for file, digest in rows):
                return folder / dsc
        return None

    def _rest_from_pool(self, own: SourceEntry, listed: tuple[SourceEntry, ...], folder: Path) -> Path | None:
        """A listed source of which a file does not arrive from its own folder. An upstream tarball is the same file
        beside an older version, in the main archive; the signed index says all that the .dsc does, and the signature
        that upstream made is not asked for."""
        bases = _bases(listed)
        missing = [f for f, digest in own.files if not self._is_fetched(folder / f, digest, bases)]
        if not own.files or any(not f.endswith((".dsc", ".asc")) for f in missing):
            return None
        dsc = next(folder / f for f, _ in own.files if f.endswith(".dsc"))
        if missing:
            there = [folder / f for f, _ in own.files if f not in missing and not f.endswith(".dsc")]
            dsc.write_text(own.description + _listed(there))
        return dsc

    def _is_fetched(self, target: Path, digest: str, bases: list[str]) -> bool:
        """Whether a file is there, or arrives from one of the folders, with this SHA-256."""
        for base in bases:
            if target.is_file() and _sha256(target) == digest:
                return True
            with suppress(CommandFailed):
                self._get(f"{base}/{target.name}", target)
        return target.is_file() and _sha256(target) == digest

    def _get(self, address: str, target: Path) -> None:
        run(["/usr/lib/apt/apt-helper", "download-file", address.replace("+", "%2b"), str(target)], env=self._ready)

    def _gone(self, what: str, version: str, listed: list[str]) -> NotFound:
        known = f"it lists {', '.join(listed)}" if listed else "it lists no version of it"
        return NotFound(
            f"{what} {version} does not arrive from the archive of {self.release} ({known})",
            "choose a version that both the source and the binary indexes list, or set SUTURE_SNAPSHOT to the "
            "address of an archive that still has it (main, then security)",
        )


def _checksums(block: Deb822) -> tuple[tuple[str, str], ...]:
    """Names and SHA-256 of the files of a source package (deb-src-control(5), Checksums-Sha256)."""
    rows = (row.split() for row in str(block.get("Checksums-Sha256", "")).splitlines())
    return tuple((row[2], row[0]) for row in rows if len(row) == 3)


_OF_THE_INDEX = frozenset({"Package", "Directory", "Priority", "Section", "Files"})


def _description(block: Deb822) -> str:
    """A paragraph of Sources as a .dsc without its list of files (dsc(5)): the field that names it is called
    otherwise."""
    kept = [(k, v) for k, v in block.items() if k not in _OF_THE_INDEX and not k.startswith("Checksums-")]
    return "".join(f"{key}: {value}\n" for key, value in [("Source", block["Package"]), *kept])


def _listed(files: list[Path]) -> str:
    """The field `Files` of a .dsc: MD5, size in bytes and name of each. dpkg-source reads which files there are from
    it; what they are was checked by SHA-256."""
    rows = [(hashlib.md5(f.read_bytes(), usedforsecurity=False).hexdigest(), f.stat().st_size, f.name) for f in files]
    return "Files:\n" + "".join(f" {digest} {size} {name}\n" for digest, size, name in rows)


def _bases(listed: tuple[SourceEntry, ...]) -> list[str]:
    """Addresses of the pool's folders that may hold a file of a package: those of its versions, the main archive's
    beside the security archive's."""
    places = mirror.find()
    found = []
    for directory in (e.directory for e in listed):
        if directory.startswith("pool/updates/"):
            found.append(f"{places.security}/{directory}")
        found.append(f"{places.main}/{directory.replace('pool/updates/', 'pool/', 1)}")
    return list(dict.fromkeys(found))


def _sha256(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


def archive_for(name: str, version: str, progress: Progress = silent) -> Archive:
    """The archive of the release that a version of a source package belongs to. Raises what `release_of` does."""
    return Archive(release_of(name, version, progress), progress)
