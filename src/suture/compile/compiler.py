"""Compilers that a release ships beside its default: what was built before that changed is code of an older one."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path

from suture.compile.room import Room
from suture.compile.tree import Tree
from suture.progress import Progress, silent
from suture.source import cache
from suture.source.archive import Archive

_NAMES = ("gcc", "g++", "cpp", "gcc-ar", "gcc-nm", "gcc-ranlib")
_TRIPLET = "x86_64-linux-gnu-"


def older(default: str, packages: Iterable[str]) -> tuple[str, ...]:
    """The versions of gcc among packages that are older than the default, the newest first.

    `default` is the first line of its `--version`: `gcc (Debian 10.2.1-6) 10.2.1 20210110`.
    """
    own = re.match(r"\S*g(?:cc|\+\+)\S* \(.*\) (\d+)\.", default)
    found = [int(m[1]) for p in packages if (m := re.fullmatch(r"gcc-(\d+)", p))]
    return tuple(str(n) for n in sorted(found, reverse=True) if own and n < int(own[1]))


def with_compiler(tree: Tree, version: str, archive: Archive, progress: Progress = silent) -> Tree:
    """The same configured tree in a room in which `gcc` and `g++` are those of another version. Raises `CommandFailed`
    when the archive does not have it."""
    room = tree.room
    if not isinstance(room, Room):
        raise TypeError("a tree of a user's own is compiled by the compilers of this host")
    below = Room(room.layers[1:])
    key = hashlib.sha256("\0".join([version, *(str(x) for x in below.layers)]).encode()).hexdigest()[:16]

    def make(folder: Path) -> None:
        progress(f"installing gcc-{version} beside what {tree.name} is built with")
        below.install(["install", f"gcc-{version}", f"g++-{version}"], archive, folder)
        link(folder / "usr/bin", version)

    layer = cache.item(cache.root() / "layer" / f"gcc-{version}-{key}", make)
    chosen = Room((room.layers[0], layer, *below.layers))
    told = chosen.enter(f"gcc-{version} --version | head -n 1\n").strip()
    return replace(
        tree, room=chosen, compiler=told, key=hashlib.sha256(f"{tree.key} {told} {key}".encode()).hexdigest()
    )


def link(folder: Path, version: str) -> None:
    """Have the plain names in a folder of programs lead to those of a version, as Debian's package gcc does."""
    for name in _NAMES:
        if (folder / f"{name}-{version}").exists() or (folder / f"{name}-{version}").is_symlink():
            (folder / name).symlink_to(f"{name}-{version}")
            (folder / f"{_TRIPLET}{name}").symlink_to(f"{name}-{version}")
