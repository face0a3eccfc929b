"""A tree of a user's own, built on this host: compiled with its own compiler where it lies, without a clean room.

Post is an overlay over the tree's folder in a private mount namespace, so paths are the same before and after the fix and the
user's files are not touched. Without root the namespace is one of the user's own.

What runs are the commands that the tree's compile_commands.json names, with sources of a fix: as the owner of the tree, in a sandbox that
can write nothing but objects. A fix that makes a compiler run a program gains nothing by it.
"""

from __future__ import annotations

import hashlib
import os
import pwd
import shlex
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from suture.compile import database
from suture.compile.room import BUILDER, INSIDE, carry_out
from suture.compile.sandbox import Order
from suture.compile.tree import Tree
from suture.compile.unit import Binary
from suture.error import NotFound, Unsupported
from suture.source import cache

_HIDDEN = ("/run", "/dev")
_TEMPORARY = f"{INSIDE}/tmp"
_ENVIRONMENT = {
    "TMPDIR": _TEMPORARY,
    "CCACHE_DISABLE": "1",
}  # where compilers may write; ccache(1) wants its own folder


@dataclass(frozen=True)
class HostRoom:
    """The host itself, with layers over one folder of it, the uppermost first. `uid` and `gid` are whom commands run as, for root."""

    root: str
    layers: tuple[Path, ...] = ()
    uid: int = 0
    gid: int = 0

    def with_layer(self, layer: Path) -> HostRoom:
        """The same with one more layer, which holds files at their absolute paths."""
        return replace(self, layers=(layer, *self.layers))

    def enter(self, script: str, *, outputs: Sequence[tuple[Path, str]] = ()) -> str:
        """Run a shell script with the layers in place, in a sandbox: nothing of the host can be written to but `outputs`.

        Raises `CommandFailed`.
        """
        root = os.geteuid() == 0
        with cache.scratch_folder(cache.root() / "run") as folder:
            (folder / "script").write_text(script)
            for path, _ in outputs if root else ():
                os.chown(path, self.uid, self.gid)
                for below in path.iterdir():
                    os.chown(below, self.uid, self.gid, follow_symlinks=False)
            uid, gid = (self.uid, self.gid) if root else (os.geteuid(), os.getegid())
            order = Order(
                self._steps(folder / "script", outputs),
                ("/bin/sh", "-eu", f"{INSIDE}/script"),
                tuple({**os.environ, **_ENVIRONMENT}.items()),
                uid=uid,
                gid=gid,
                sockets=False,
            )
            return carry_out(order, script)

    def _steps(self, script: Path, outputs: Sequence[tuple[Path, str]]) -> tuple[tuple[str, ...], ...]:
        lower = ":".join([*(f"{layer}{self.root}" for layer in self.layers), self.root])
        return (
            ("private",),
            *([("overlay", self.root, f"lowerdir={lower}")] if self.layers else []),
            ("freeze",),
            ("tmpfs", "/run", "mode=755"),
            ("devices", "/dev"),
            ("proc", "/proc"),
            ("own", INSIDE),
            ("own", _TEMPORARY),
            ("bind", str(script), f"{INSIDE}/script"),
            *(("bind-rw", str(path), place) for path, place in outputs),
        )


def _whose(root: Path, commands: Path) -> tuple[int, int]:
    """User and group of a tree's compile commands: the owner of its folder, or of their file if the folder is root's."""
    uid = root.stat().st_uid or commands.stat().st_uid
    try:
        return uid, pwd.getpwuid(uid).pw_gid
    except KeyError:
        return uid, BUILDER


def open_tree(folder: Path, binary: Path) -> Tree:
    """A user's built tree with its compile_commands.json, for one binary that was linked from it.

    Which of the units are in the binary is what the recorded build tells; where it tells nothing, the match does. `folder` is that of the sources or
    one that was built in. Raises `NotFound` and `BadDatabase`.
    """
    given = folder.resolve()
    root = database.source_root(given)
    if any(x.is_relative_to(place) for x in (root, given) for place in _HIDDEN):
        raise Unsupported(f"{root}: the sandbox has a {' and a '.join(_HIDDEN)} of its own", "build the tree elsewhere")
    units = database.read(given, root)
    if not units:
        raise NotFound(
            f"{root}: its compilation database names no source in it", "record it again: suture record -- make"
        )
    if not binary.is_file():
        raise NotFound(f"{binary}: no such file", "give the path of the shipped binary")
    # an untouched __TIME__ must not differ between before and after the fix (reproducible-builds.org, SOURCE_DATE_EPOCH)
    date = os.environ.get("SOURCE_DATE_EPOCH") or str(int(binary.stat().st_mtime))
    room = HostRoom(str(root), (), *_whose(root, database.find(given)))
    compiler = room.enter(f"{shlex.join([units[0].argv[0], '--version'])}\n").splitlines()[0]
    states = [_state(x) for x in ([root] if given.is_relative_to(root) else [root, given])]
    key = hashlib.sha256(" ".join([*states, date, compiler]).encode()).hexdigest()
    held = database.held(given, root, binary, units)
    return Tree(
        name=root.name,
        version="",
        units=units,
        binaries=(Binary("", str(binary.resolve()), held.objects),),
        compiler=compiler,
        key=key,
        root=str(root),
        files=root,
        place=cache.root() / "host" / key[:32],
        room=room,
        env={"SOURCE_DATE_EPOCH": date},
        gap=held.gap,
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
