"""A tree of a user's own, built on this host: compiled with its own compiler where it lies, without a clean room.

Post is an overlay over the tree's folder in a private mount namespace, so paths are the same before and after the fix and the
user's files are not touched. Without root the namespace is one of the user's own.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from suture.command import run
from suture.compile import database
from suture.compile.room import INSIDE
from suture.compile.tree import Tree
from suture.compile.unit import Binary
from suture.error import NotFound
from suture.source import cache

# Arguments: the tree, lowerdir or empty, then pairs of host path and its place. /run is ours alone in this namespace.
_MOUNTS = f"""
tree=$1 lower=$2; shift 2
[ -z "$lower" ] || mount -t overlay suture -o "ro,lowerdir=$lower" "$tree"
mount -t tmpfs -o mode=755 suture /run
mkdir "{INSIDE}"
while [ $# -gt 1 ]; do mkdir -p "$2"; mount --bind "$1" "$2"; shift 2; done
exec sh -eu {INSIDE}/script/run
"""


@dataclass(frozen=True)
class HostRoom:
    """The host itself, with layers over one folder of it, the uppermost first."""

    root: str
    layers: tuple[Path, ...] = ()

    def with_layer(self, layer: Path) -> HostRoom:
        """The same with one more layer, which holds files at their absolute paths."""
        return HostRoom(self.root, (layer, *self.layers))

    def enter(
        self,
        script: str,
        *,
        keep: Path | None = None,
        directory: str = "/",
        binds: Sequence[tuple[Path, str]] = (),
        env: Mapping[str, str] | None = None,
    ) -> str:
        """Run a shell script with the layers in place, as `Room.enter` does; nothing can be kept. Raises `CommandFailed`."""
        assert keep is None and directory == "/"
        lower = ":".join([*(f"{layer}{self.root}" for layer in self.layers), self.root]) if self.layers else ""
        own = [] if os.geteuid() == 0 else ["--user", "--map-root-user"]
        place = cache.root() / "run"

        def make(folder: Path) -> str:
            (folder / "run").write_text(script)
            pairs = [str(x) for pair in [(folder, f"{INSIDE}/script"), *binds] for x in pair]
            return run(["unshare", *own, "--mount", "sh", "-euc", _MOUNTS, "suture", self.root, lower, *pairs], env=env)

        return cache.scratch(place, make)


def open_tree(folder: Path, binary: Path) -> Tree:
    """A user's built tree with its compile_commands.json, for one binary that was linked from it.

    Which of the units are in the binary is not known beforehand: the match tells. Raises `NotFound` and `BadDatabase`.
    """
    root = folder.resolve()
    units = database.read(root)
    if not units:
        raise NotFound(
            f"{root}: its compilation database names no source in it", "record it again: suture record -- make"
        )
    if not binary.is_file():
        raise NotFound(f"{binary}: no such file", "give the path of the shipped binary")
    # an untouched __TIME__ must not differ between before and after the fix (reproducible-builds.org, SOURCE_DATE_EPOCH)
    date = os.environ.get("SOURCE_DATE_EPOCH") or str(int(binary.stat().st_mtime))
    key = hashlib.sha256(f"{_state(root)} {date}".encode()).hexdigest()
    return Tree(
        name=root.name,
        version="",
        units=units,
        binaries=(Binary("", str(binary.resolve()), frozenset(u.object for u in units)),),
        compiler=run([units[0].argv[0], "--version"]).splitlines()[0],
        key=key,
        root=str(root),
        files=root,
        place=cache.root() / "host" / key[:32],
        room=HostRoom(str(root)),
        env={"SOURCE_DATE_EPOCH": date},
    )


def _state(root: Path) -> str:
    """A name for the contents of a tree: paths, sizes and times of all its files."""
    digest = hashlib.sha256(str(root).encode())
    for folder, folders, names in os.walk(root):
        folders[:] = sorted(x for x in folders if x != ".git")
        for name in sorted(names):
            path = os.path.join(folder, name)
            facts = os.lstat(path)
            digest.update(f"{path}\0{facts.st_size}\0{facts.st_mtime_ns}\n".encode(errors="surrogateescape"))
    return digest.hexdigest()
