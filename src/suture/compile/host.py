"""A tree of a user's own, built on this host: compiled with its own compiler where it lies, without a clean room.

Post is an overlay over the tree's folder in a private mount namespace, so paths are the same before and after the fix
and the user's files are not touched. Without root the namespace is one of the user's own.

What runs are the commands that the tree's compile_commands.json names, with sources of a fix: as the owner of the tree,
in a sandbox that can write nothing but objects. A fix that makes a compiler run a program gains nothing by it.

What they read is what their user may read: for a tree that root owns that is nobody in particular (`BUILDER`), so that
a fix that includes /etc/shadow gets what anybody would. Folders that keep others out (/root) are passed through to the
tree and to what its commands name, and to nothing else in them. Of the environment they get what compilers ask for.
"""

from __future__ import annotations

import hashlib
import os
import pwd
import re
import shlex
import shutil
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from suture.compile import database
from suture.compile.room import BUILDER, INSIDE, carry_out
from suture.compile.sandbox import Order
from suture.compile.tree import Tree
from suture.compile.unit import Binary, Unit
from suture.elf import abi
from suture.error import NotFound, Unsupported
from suture.source import cache

_HIDDEN = ("/run", "/dev")
_HEAD = 20  # bytes of an ELF file up to its type (gABI, e_type)
_TEMPORARY = f"{INSIDE}/tmp"
_ENVIRONMENT = {
    "TMPDIR": _TEMPORARY,
    "CCACHE_DISABLE": "1",
}  # where compilers may write; ccache(1) wants its own folder
# gcc(1), "Environment Variables Affecting GCC"; ld.so(8); locale(7); the wrappers of Nix, ccache and distcc
_PASSED = re.compile(
    r"PATH|HOME|LANG|LANGUAGE|LC_\w+|TMPDIR|CPATH|\w*_INCLUDE_PATH|COMPILER_PATH|LIBRARY_PATH|GCC_EXEC_PREFIX|"
    r"LD_LIBRARY_PATH|SOURCE_DATE_EPOCH|SDKROOT|SYSROOT|NIX_\w+|CCACHE_\w+|DISTCC_\w+"
)


@dataclass(frozen=True)
class HostRoom:
    """The host itself, with layers over one folder of it, the uppermost first.

    `uid` and `gid` are whom commands run as when root asks; for 0 it is `BUILDER`. `named` are other paths that
    commands name.
    """

    root: str
    layers: tuple[Path, ...] = ()
    uid: int = 0
    gid: int = 0
    named: tuple[str, ...] = ()

    def with_layer(self, layer: Path) -> HostRoom:
        """The same with one more layer, which holds files at their absolute paths."""
        return replace(self, layers=(layer, *self.layers))

    def enter(self, script: str, *, outputs: Sequence[tuple[Path, str]] = ()) -> str:
        """Run a shell script with the layers in place, in a sandbox: nothing of the host can be written to but
        `outputs`.

        Raises `CommandFailed`.
        """
        with cache.scratch_folder(cache.root() / "run") as folder:
            (folder / "script").write_text(script)
            uid, gid = os.geteuid(), os.getegid()
            if uid == 0:
                uid, gid = self.uid or BUILDER, self.gid or BUILDER
                for path, _ in outputs:
                    os.chown(path, uid, gid)
                    for below in path.iterdir():
                        os.chown(below, uid, gid, follow_symlinks=False)
            passed = {k: v for k, v in os.environ.items() if _PASSED.fullmatch(k)}
            order = Order(
                self._steps(folder, outputs, uid, gid),
                ("/bin/sh", "-eu", f"{INSIDE}/script"),
                tuple({**passed, **_ENVIRONMENT}.items()),
                uid=uid,
                gid=gid,
                sockets=False,
            )
            return carry_out(order, script)

    def _steps(
        self, folder: Path, outputs: Sequence[tuple[Path, str]], uid: int, gid: int
    ) -> tuple[tuple[str, ...], ...]:
        layers = list(self.layers)
        shut = _shut_folders([self.root, *self.named], uid, gid) if os.geteuid() == 0 else {}
        if any(self.root in inside for inside in shut.values()):
            (folder / "open").mkdir(mode=0o755)
            layers.insert(0, folder / "open")
            (folder / "open" / self.root.lstrip("/")).mkdir(parents=True)
        lower = ":".join([*(f"{layer}{self.root}" for layer in layers), self.root])
        return (
            ("private",),
            *([("overlay", self.root, f"lowerdir={lower}")] if layers else []),
            *(("alone", top, *inside) for top, inside in shut.items()),
            ("freeze",),
            ("tmpfs", "/run", "mode=755"),
            ("devices", "/dev"),
            ("proc", "/proc"),
            ("own", INSIDE),
            ("own", _TEMPORARY),
            ("bind", str(folder / "script"), f"{INSIDE}/script"),
            *(("bind-rw", str(path), place) for path, place in outputs),
        )


def _shut_folders(paths: Sequence[str], uid: int, gid: int) -> dict[str, list[str]]:
    """The topmost folders on the way to paths that a user may not pass, each with the paths below or at it."""
    found: dict[str, list[str]] = {}
    for path in paths:
        way = [Path(path), *Path(path).parents][::-1]
        top = next((x for x in way if x.is_dir() and not _may_pass(x, uid, gid)), None)
        if top is not None and os.path.lexists(path):
            found.setdefault(str(top), []).append(path)
    return {top: _outermost(inside, paths[0]) for top, inside in found.items()}


def _outermost(paths: Sequence[str], root: str) -> list[str]:
    """Paths of which none lies in another, nor twice; `root`, which has layers of its own, comes last if it is
    there."""
    outer = [p for p in dict.fromkeys(paths) if p != root and not any(p.startswith(f"{x}/") for x in paths)]
    return [*outer, root] if root in paths else outer


def _may_pass(folder: Path, uid: int, gid: int) -> bool:
    """Whether the permission bits let a user pass a folder (path_resolution(7))."""
    facts = folder.stat()
    shift = 6 if facts.st_uid == uid else 3 if facts.st_gid == gid else 0
    return bool(facts.st_mode >> shift & 1)


def _whose(root: Path, commands: Path) -> tuple[int, int]:
    """User and group of a tree's compile commands: the owner of its folder, or of their file if the folder is root's; 0
    if that is root's too."""
    uid = root.stat().st_uid or commands.stat().st_uid
    try:
        return uid, pwd.getpwuid(uid).pw_gid
    except KeyError:
        return uid, BUILDER


def open_tree(folder: Path, binary: Path) -> Tree:
    """A user's built tree with its compile_commands.json, for one binary that was linked from it.

    Which of the units are in the binary is what the recorded build tells; where it tells nothing, the match does.
    `folder` is that of the sources or one that was built in. Raises `NotFound` and `BadDatabase`.
    """
    given = folder.resolve()
    root = database.source_root(given)
    if any(x.is_relative_to(place) for x in (root, given) for place in _HIDDEN):
        raise Unsupported(f"{root}: the sandbox has a {' and a '.join(_HIDDEN)} of its own", "build the tree elsewhere")
    own = next((x for x in (root, given) if cache.is_inside(cache.root(), x)), None)
    if own is not None:
        raise Unsupported(
            f"{cache.root()}: Suture keeps what it makes there, within {own}, which must not change while it is "
            "compiled",
            "set SUTURE_CACHE to a folder outside of the tree",
        )
    units = database.read(given, root)
    if not units:
        raise NotFound(
            f"{root}: its compilation database names no source in it", "record it again: suture record -- make"
        )
    _check_program(binary)
    # an untouched __TIME__ must not differ between before and after the fix (reproducible-builds.org,
    # SOURCE_DATE_EPOCH)
    date = os.environ.get("SOURCE_DATE_EPOCH") or str(int(binary.stat().st_mtime))
    room = HostRoom(str(root), (), *_whose(root, database.find(given)), _named(root, given, units))
    _check_readable(root, units, room)
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


def _check_program(path: Path) -> None:
    """Raises `NotFound` and `Unsupported` for what is no linked program or library."""
    remedy = "give the program or library that was built from the tree with --binary FILE"
    if not path.is_file():
        raise NotFound(f"{path}: {'a folder' if path.is_dir() else 'no such file'}", remedy)
    with path.open("rb") as file:
        head = file.read(_HEAD)
    if head.startswith(b"#!"):
        raise Unsupported(
            f"{path}: a script", "give the program that it starts (libtool keeps it in .libs) with --binary FILE"
        )
    if head.startswith(b"!<arch>"):
        raise Unsupported(f"{path}: an archive of objects, which no process runs", remedy)
    if not head.startswith(b"\x7fELF"):
        raise Unsupported(f"{path}: neither a program nor a library", remedy)
    if int.from_bytes(head[16:18], "little") == abi.ET_REL:
        raise Unsupported(f"{path}: an object that is not linked yet, which no process runs", remedy)


def _named(root: Path, given: Path, units: Sequence[Unit]) -> tuple[str, ...]:
    """What the commands of a tree name outside of it: folders of headers, files, where they run, and the compilers' own
    places."""
    found = {str(given): None}
    for unit in units:
        found[unit.directory] = None
        compiler = shutil.which(unit.argv[0]) or ""
        for path in dict.fromkeys((compiler, os.path.realpath(compiler) if compiler else "")):
            folder = Path(path).parent
            found[str(folder.parent) if folder.name == "bin" else path] = None
        found |= dict.fromkeys(unit.named)
    return tuple(p for p in found if p.startswith("/") and not Path(p).is_relative_to(root) and os.path.lexists(p))


def _check_readable(root: Path, units: Sequence[Unit], room: HostRoom) -> None:
    """Raises `Unsupported` where root would compile a tree of its own that others may not read."""
    if os.geteuid() != 0 or room.uid:
        return
    for source in dict.fromkeys(u.source for u in units):
        path = root / source
        way = [x for x in path.parents if x != root and x.is_relative_to(root)]
        if path.is_file() and not (path.stat().st_mode & 0o004 and all(_may_pass(x, BUILDER, BUILDER) for x in way)):
            raise Unsupported(
                f"{path}: only root may read it, and a fix is not compiled with root's rights",
                f"open the tree to others (chmod -R go+rX {shlex.quote(str(root))}) or give it to a user of its own",
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
