"""Which kernel a patch is for: a source version, the release that `uname -r` tells, and the archive's packages of it.

The recipe (recipes/kernel/linux.toml) holds the names of packages and files; nothing is unpacked or compiled here.
"""

from __future__ import annotations

import hashlib
import tomllib
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

from suture.compile.recipe import BadRecipe, folder
from suture.error import NotFound
from suture.progress import Progress, silent
from suture.source.archive import Archive, archive_for

SOURCE = "linux"
_KEYS = frozenset(
    {"flavour", "source", "tarball", "image", "headers", "config", "symvers", "vmlinuz", "modules", "compiler"}
)


@dataclass(frozen=True)
class KernelRecipe:
    """Package and file names with `{series}` and `{release}` to be filled in; `build_depends` are installed over the base room."""

    names: dict[str, str]
    build_depends: tuple[str, ...]
    digest: str


@dataclass(frozen=True)
class Target:
    """The archive's kernel of one source version and flavour. Paths are files of unpacked packages on this host."""

    version: str
    release: str
    archive: Archive
    recipe: KernelRecipe

    @property
    def series(self) -> str:
        """`6.1` of 6.1.176-1."""
        return ".".join(self.version.split(".")[:2])

    def name(self, key: str) -> str:
        """A name of the recipe, filled in."""
        return self.recipe.names[key].format(series=self.series, release=self.release)

    @property
    def compiler(self) -> str:
        return self.name("compiler")

    def tarball(self, version: str = "") -> Path:
        """The patched source as the archive packs it, of this version or another of the series. Raises `NotFound`."""
        return self._file("source", "tarball", version or self.version)

    @property
    def config(self) -> Path:
        return self._file("headers", "config", self.version)

    @property
    def symvers(self) -> Path:
        return self._file("headers", "symvers", self.version)

    @property
    def vmlinuz(self) -> Path:
        return self._file("image", "vmlinuz", self.version)

    @property
    def modules(self) -> Path:
        """The folder that the package's modules lie under."""
        return self._file("image", "modules", self.version)

    def module(self, name: str) -> Path | None:
        """The file of a module by the kernel's name of it; None when the image package has none."""
        for path in self.modules.rglob("*.ko"):
            if path.name.removesuffix(".ko").replace("-", "_") == name:
                return path
        return None

    def _file(self, package: str, key: str, version: str) -> Path:
        path = self.archive.binary(self.name(package), version) / self.name(key)
        if not path.exists():
            raise NotFound(
                f"{self.name(package)} {version} holds no {self.name(key)}", "correct recipes/kernel/linux.toml"
            )
        return path


def is_kernel(source: str) -> bool:
    """Whether `NAME=VERSION` names a kernel."""
    return source.partition("=")[0] == SOURCE


def load_recipe(where: Path | None = None) -> KernelRecipe:
    """The recipe of the kernel. Raises `NotFound` and `BadRecipe`."""
    path = (where or folder()) / "kernel" / f"{SOURCE}.toml"
    if not path.is_file():
        raise NotFound(f"no recipe for the kernel ({path})", "take it from Suture's own recipes/kernel")
    data = path.read_bytes()
    table = tomllib.loads(data.decode()).get("kernel", {})
    if set(table) != _KEYS | {"build_depends"}:
        wrong = ", ".join(sorted(set(table) ^ (_KEYS | {"build_depends"})))
        raise BadRecipe(
            f"{path}: missing or unknown fields: {wrong}", "correct the file; docs/kernel.md has the fields"
        )
    names = {k: str(v) for k, v in table.items() if k in _KEYS}
    return KernelRecipe(names, tuple(table["build_depends"]), hashlib.sha256(data).hexdigest())


@lru_cache(maxsize=8)
def find(version: str, progress: Progress = silent) -> Target:
    """The kernel that was built from a source version. Raises `NotFound` when the archive lists none of it."""
    archive, recipe = archive_for(version, progress=progress), load_recipe()
    series, flavour = ".".join(version.split(".")[:2]), recipe.names["flavour"]
    known: dict[str, str] = {}
    for package in archive.packages(f"linux-image-{series}."):
        release = package.removeprefix("linux-image-")
        if not release.endswith(f"-{flavour}") or release.endswith(f"-rt-{flavour}") or "cloud" in release:
            continue
        for entry in archive.binaries(package):
            known[entry.version] = release
    if version not in known:
        raise NotFound(
            f"the archive of {archive.release} has no image of linux {version}",
            f"it has images of {', '.join(sorted(known)) or 'no version of this series'}",
        )
    return Target(version, known[version], archive, recipe)
