"""Which kernel a patch is for: a source version and flavour, the release that `uname -r` tells, and the archive's
packages of it.

The recipe (src/suture/recipes/kernel/linux.toml) holds the names of packages and files; nothing but compressed modules
is unpacked here.
"""

from __future__ import annotations

import gzip
import hashlib
import lzma
import re
import tomllib
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property, lru_cache
from importlib.resources.abc import Traversable
from pathlib import Path

from suture.compile.recipe import BadRecipe, folder
from suture.error import NotFound, Unsupported
from suture.progress import Progress, silent
from suture.source import cache, mirror
from suture.source.archive import Archive, named_release
from suture.source.origin import codename

SOURCE = "linux"
FLAVOURS = ("amd64", "cloud-amd64", "rt-amd64")
_KEYS = frozenset({"source", "tarball", "changelog", "image", "headers", "config", "symvers", "vmlinuz", "modules"})
_RELEASE = re.compile(r"(?P<series>\d+\.\d+)\.\S*?-(?P<flavour>(?:cloud-|rt-)?amd64)")
_COMPILER = re.compile(r'^CONFIG_CC_VERSION_TEXT="(\S+) ', re.M)


@dataclass(frozen=True)
class KernelRecipe:
    """Package and file names with `{series}` and `{release}` to be filled in; `build_depends` are installed over the
    base room."""

    names: dict[str, str]
    build_depends: tuple[str, ...]
    digest: str


@dataclass(frozen=True)
class ArchiveKernel:
    """The archive's kernel of one source version and flavour. Paths are files of unpacked packages on this host."""

    version: str
    release: str
    archive: Archive
    recipe: KernelRecipe
    flavour: str = FLAVOURS[0]

    @property
    def series(self) -> str:
        """`6.1` of 6.1.176-1."""
        return series_of(self.version)

    @property
    def is_rt(self) -> bool:
        """Whether the archive patches the source for PREEMPT_RT before it builds this flavour."""
        return self.flavour.startswith("rt-")

    def name(self, key: str) -> str:
        """A name of the recipe, filled in."""
        return self.recipe.names[key].format(series=self.series, release=self.release)

    @cached_property
    def compiler(self) -> str:
        """The compiler as its configuration calls it: the name is part of the configuration (scripts/cc-version.sh)."""
        found = _COMPILER.search(self.config.read_text())
        if found is None:
            raise Unsupported(f"the configuration of {self.release} names no compiler", "choose another kernel")
        return found[1]

    def tarball(self, version: str = "") -> Path:
        """The patched source as the archive packs it, of this version or another of the series. Raises `NotFound`."""
        return self._file("source", "tarball", version or self.version)

    def changelog(self, version: str = "") -> str:
        """The changelog of this version of the source package, or of another. Raises `NotFound`."""
        return gzip.decompress(self._file("source", "changelog", version or self.version).read_bytes()).decode(
            errors="replace"
        )

    @property
    def config(self) -> Path:
        return self._file("headers", "config", self.version)

    @property
    def symvers(self) -> Path:
        return self._file("headers", "symvers", self.version)

    @property
    def vmlinuz(self) -> Path:
        return self._file("image", "vmlinuz", self.version)

    @cached_property
    def modules(self) -> dict[str, Path]:
        """The package's files of modules by the kernel's name of them; compressed ones end in `.ko.xz`."""
        files = sorted(self._file("image", "modules", self.version).rglob("*.ko*"))
        return {path.name.partition(".ko")[0].replace("-", "_"): path for path in files}

    def module(self, name: str) -> Path | None:
        """The file of a module, unpacked, by the kernel's name of it; None when the image package has none."""
        path = self.modules.get(name.replace("-", "_"))
        if path is None or path.suffix == ".ko":
            return path
        place = cache.root() / "module" / cache.safe(self.version) / self.flavour / path.with_suffix("").name

        def unpack(new: Path) -> None:
            new.write_bytes(lzma.decompress(path.read_bytes()))

        return cache.item(place, unpack)

    def _file(self, package: str, key: str, version: str) -> Path:
        root, name = self.archive.binary(self.name(package), version), self.name(key)
        for path in (root / name, root / "usr" / name):  # from trixie on, what was in /lib is packed as /usr/lib
            if path.exists():
                return path
        raise NotFound(f"{self.name(package)} {version} holds no {name}", "correct kernel/linux.toml of the recipes")


def series_of(version: str) -> str:
    """`6.1` of 6.1.176-1 and of 6.1.0-50-amd64."""
    return ".".join(version.split(".")[:2])


def is_kernel(source: str) -> bool:
    """Whether `NAME=VERSION` names a kernel."""
    return source.partition("=")[0] == SOURCE


def load_recipe(where: Traversable | None = None) -> KernelRecipe:
    """The recipe of the kernel. Raises `NotFound` and `BadRecipe`."""
    path = (where or folder()) / "kernel" / f"{SOURCE}.toml"
    if not path.is_file():
        raise NotFound(f"no recipe for the kernel ({path})", "take it from Suture's own src/suture/recipes/kernel")
    data = path.read_bytes()
    table = tomllib.loads(data.decode()).get("kernel", {})
    if set(table) != _KEYS | {"build_depends"}:
        wrong = ", ".join(sorted(set(table) ^ (_KEYS | {"build_depends"})))
        raise BadRecipe(
            f"{path}: missing or unknown fields: {wrong}", "correct the file; docs/how-to/kernel.md has the fields"
        )
    names = {k: str(v) for k, v in table.items() if k in _KEYS}
    return KernelRecipe(names, tuple(table["build_depends"]), hashlib.sha256(data).hexdigest())


@lru_cache(maxsize=8)
def find(wanted: str, progress: Progress = silent, flavour: str = "") -> ArchiveKernel:
    """The archive's kernel of a source version (`6.1.176-1`) and flavour, or of a release as `uname -r` prints it.

    All releases of Debian are asked, the version's own or the host's first. Raises `NotFound` when none lists it,
    `Unsupported` for a flavour that is not known.
    """
    recipe, named = load_recipe(), _RELEASE.fullmatch(wanted)
    chosen = flavour or (named["flavour"] if named else FLAVOURS[0])
    if chosen not in FLAVOURS or (named and named["flavour"] != chosen):
        raise Unsupported(f"flavour {chosen} is not one of {wanted}", f"give one of {', '.join(FLAVOURS)}")
    known: list[str] = []
    for archive in _archives("" if named else wanted, progress):
        for release, version in _images(archive, wanted, chosen, bool(named)):
            if wanted in (version, release):
                return ArchiveKernel(version, release, archive, recipe, chosen)
            known.append(version)
    newest = ", ".join(dict.fromkeys(known)) or "no version of this series"
    raise NotFound(
        f"the archive has no image of linux {wanted} ({chosen})",
        f"it has images of {newest}; `uname -r` prints the release of the running kernel, and `uname -v` its version",
    )


def flavours_of(version: str, progress: Progress = silent) -> tuple[str, ...]:
    """The flavours of which the archive has an image of a source version."""
    archives = list(_archives(version, progress))
    return tuple(
        f for f in FLAVOURS if any(v == version for a in archives for _, v in _images(a, version, f, is_release=False))
    )


def _archives(version: str, progress: Progress) -> Iterator[Archive]:
    """That of the release that a version names or that this host is of, then the others that get updates."""
    first = [r for r in (named_release(version), codename(Path("/"))) if r]
    for name in dict.fromkeys([*first, *(r for r, number in mirror.RELEASES.items() if number)]):
        yield Archive(name, progress)


def _images(archive: Archive, wanted: str, flavour: str, is_release: bool) -> Iterator[tuple[str, str]]:
    """(release, version) of the images of a series and flavour that an archive lists."""
    packages = archive.packages(f"linux-image-{wanted if is_release else f'{series_of(wanted)}.'}")
    for package in packages:
        release = package.removeprefix("linux-image-")
        named = _RELEASE.fullmatch(release)
        if named and named["flavour"] == flavour:
            for entry in archive.binaries(package):
                yield release, entry.version
