"""Recipes: one small data file per source package that tells how its tree is made ready (docs/reference/recipes.md)."""

from __future__ import annotations

import hashlib
import os
import tomllib
from dataclasses import dataclass
from importlib import resources
from importlib.resources.abc import Traversable
from pathlib import Path

from suture.error import ExitCode, NotFound, SutureError

MULTIARCH = "x86_64-linux-gnu"
_BUILD_KEYS = frozenset({"profiles", "versions", "configure", "generate", "record", "real", "moved"})
_BINARY_KEYS = frozenset({"package", "file", "output"})
_BINARY_MORE = frozenset({"suspends"})
_CORRECT = "correct the file; docs/reference/recipes.md has the fields"


class BadRecipe(SutureError):
    """A recipe lacks a field or has one that is not known."""

    exit_code = ExitCode.USAGE


@dataclass(frozen=True)
class ShippedBinary:
    """A file of a binary package, and the link output in the built tree that becomes it.

    `output` is relative to the tree's root; `file` to that of the package. `suspends` are functions that a suspended
    coroutine stands in.
    """

    package: str
    file: str
    output: str
    suspends: tuple[str, ...] = ()


@dataclass(frozen=True)
class Recipe:
    """How one source package's tree is configured, its headers generated and its commands recorded.

    The three scripts are POSIX shell, run in the tree's root with the variables that debian/rules exports.
    `versions` are pairs of a package, or of `src:` and a source package, and the version that the room gets of it.
    `moved` are pairs of a folder in the source and the folder of the built tree that holds the copy which is compiled.
    `real` says that `record` builds with the compilers themselves instead of stand-ins. Without `binaries` it is a
    derived one.
    """

    source: str
    profiles: tuple[str, ...]
    versions: tuple[tuple[str, str], ...]
    configure: str
    generate: str
    record: str
    moved: tuple[tuple[str, str], ...]
    binaries: tuple[ShippedBinary, ...]
    digest: str
    real: bool = False

    @property
    def way(self) -> str:
        """How the commands become known, in a few words."""
        return f"{'recipe' if self.binaries else 'its own rules'}, {'built once' if self.real else 'recorded'}"

    @property
    def is_stand_in(self) -> bool:
        """Whether it is a derived one whose record makes nothing, so that a real build may bring more."""
        return not self.binaries and not self.real

    def built_path(self, path: str) -> str:
        """Where the file that a fix calls `path` lies in the tree that is compiled."""
        for source, built in self.moved:
            if path.startswith(source + "/"):
                return built + path[len(source) :]
        return path


def folder() -> Traversable:
    """Where recipes lie: `$SUTURE_RECIPES`, else those that come with the package."""
    own = os.environ.get("SUTURE_RECIPES")
    return Path(own) if own else resources.files("suture") / "recipes"


def load(source: str, where: Traversable | None = None) -> Recipe:
    """The recipe of a source package. Raises `NotFound` and `BadRecipe`."""
    path = (where or folder()) / f"{source}.toml"
    if not path.is_file():
        remedy = "write one: docs/reference/recipes.md tells how"
        raise NotFound(f"no recipe for the source package {source} ({path})", remedy)
    return parse(path.read_text(), source)


def has(source: str, where: Path | None = None) -> bool:
    """Whether there is a recipe for a source package."""
    return ((where or folder()) / f"{source}.toml").is_file()


def parse_derived(text: str, source: str) -> Recipe:
    """A recipe that names no binary. Raises `BadRecipe`."""
    return _parse(text, source, derived=True)


def parse(text: str, source: str) -> Recipe:
    """A recipe from its text. Raises `BadRecipe`."""
    return _parse(text, source, derived=False)


def _parse(text: str, source: str, derived: bool) -> Recipe:
    text = text.replace("{multiarch}", MULTIARCH)
    try:
        data = tomllib.loads(text)
    except tomllib.TOMLDecodeError as bad:
        raise BadRecipe(f"recipe of {source}: {bad}", _CORRECT) from bad
    build, rows = data.get("build"), [] if derived else data.get("binary")
    if data.keys() - {"build", "binary"} or not isinstance(build, dict) or not isinstance(rows, list):
        raise _bad(source, "needs one [build] and at least one [[binary]], and nothing else")
    if build.keys() - _BUILD_KEYS:
        raise _bad(source, f"[build] has the unknown field {min(build.keys() - _BUILD_KEYS)}")
    if any(set(row) - _BINARY_MORE != _BINARY_KEYS for row in rows):
        raise _bad(source, "each [[binary]] needs package, file and output")
    moved, versions = build.get("moved", {}), build.get("versions", {})
    return Recipe(
        source=source,
        profiles=tuple(str(x) for x in build.get("profiles", ())),
        versions=tuple((str(a), str(b)) for a, b in sorted(versions.items())),
        configure=_script(build, "configure", source),
        generate=str(build.get("generate", "")),
        record=_script(build, "record", source),
        moved=tuple((str(a).rstrip("/"), str(b).rstrip("/")) for a, b in moved.items()),
        binaries=tuple(
            ShippedBinary(
                str(r["package"]), str(r["file"]), str(r["output"]), tuple(str(x) for x in r.get("suspends", ()))
            )
            for r in rows
        ),
        digest=hashlib.sha256(text.encode()).hexdigest(),
        real=build.get("real") is True,
    )


def _script(build: dict[str, object], key: str, source: str) -> str:
    if not build.get(key):
        raise _bad(source, f"[build] needs {key}")
    return str(build[key])


def _bad(source: str, what: str) -> BadRecipe:
    return BadRecipe(f"recipe of {source}: {what}", _CORRECT)
