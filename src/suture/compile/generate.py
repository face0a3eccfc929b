"""What a fix to the inputs of generators comes to: the code is generated anew from the fixed source, and compared.

Build files stay as they are, so the tree is configured as before; what differs then comes from the generators. Where
their output is the same byte for byte, the change of their input means nothing to a running process.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from suture.compile import post
from suture.compile.room import give
from suture.compile.unit import Unit
from suture.source import cache
from suture.source.fix import Fix

CODE_SUFFIXES = frozenset(
    {".c", ".cc", ".cpp", ".cxx", ".h", ".hh", ".hpp", ".hxx", ".inc", ".inl", ".def", ".tbl", ".y", ".l", ".s", ".S"}
)
_LINKED = frozenset({".ld", ".map", ".ver", ".sym"})  # what the linker reads beside objects

Remake = Callable[[Path, Path], Sequence[Unit]]
"""Configures, generates and records the source in a folder (second) of the layer `upper` in a working folder (first);
gives the units."""


@dataclass(frozen=True)
class Generated:
    """`layer` holds the generated code that came out differently, `files` its paths; paths are relative to the tree's
    root.

    `gone` is code that is generated no more, `linked` what the linker reads and that differs; `commands` are the
    sources of units that are compiled in another way, or not at all, or only now.
    """

    layer: Path
    files: tuple[str, ...]
    gone: tuple[str, ...]
    linked: tuple[str, ...]
    commands: tuple[str, ...]

    @property
    def differs(self) -> bool:
        """Whether anything comes out differently."""
        return bool(self.files or self.gone or self.linked or self.commands)


def generated(
    key: str,
    source: Path,
    files: Path,
    root: str,
    units: Sequence[Unit],
    fix: Fix,
    built: frozenset[str],
    remake: Remake,
) -> Generated:
    """What the generators make of `fix`, once for each fix and tree (`key`).

    `source` is the unpacked source and `files` the configured tree on this host, `root` its place in the room, `units`
    those that count, `built` the paths in the tree of files that the fix changes itself. Raises `Refused` for a hunk
    that does not apply, and `CommandFailed` when a step of the build fails.
    """
    name = hashlib.sha256(f"generated {key} {fix.sha256}".encode()).hexdigest()[:32]

    def make(folder: Path) -> None:
        folder.mkdir()
        work = folder / "work"
        target = work / "upper" / root.lstrip("/")
        target.parent.mkdir(parents=True)
        shutil.copytree(source, target, symlinks=True)
        for part in fix.files:
            if part.deletes:
                (target / part.path).unlink(missing_ok=True)
            else:
                post.apply(part, source, target, part.path, fix.name)
        give(target.parent)
        commands = _commands(units, remake(work, target))
        facts = _compare(files, target, folder / "layer" / root.lstrip("/"), built)
        (folder / "facts.json").write_text(json.dumps({**facts, "commands": commands}))
        cache.discard(work)

    place = cache.item(cache.root() / "post" / name, make)
    found = {k: tuple(v) for k, v in json.loads((place / "facts.json").read_text()).items()}
    return Generated(place / "layer", found["files"], found["gone"], found["linked"], found["commands"])


def _compare(before: Path, after: Path, layer: Path, built: frozenset[str]) -> Mapping[str, list[str]]:
    """Files of two configured trees that differ; the code among them is copied to `layer`."""
    layer.mkdir(parents=True)
    old, new = set(_code(before)) - built, set(_code(after)) - built
    changed = [n for n in sorted(new) if n not in old or (before / n).read_bytes() != (after / n).read_bytes()]
    code = [n for n in changed if PurePosixPath(n).suffix in CODE_SUFFIXES]
    for path in code:
        (layer / path).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy2(after / path, layer / path)
    return {"files": code, "gone": sorted(old - new), "linked": [n for n in changed if n not in set(code)]}


def _code(folder: Path) -> Iterator[str]:
    for place, folders, names in os.walk(folder):
        folders[:] = [x for x in folders if x not in {".pc", ".git", "debian"}]
        for name in names:
            path = Path(place, name)
            if path.suffix in CODE_SUFFIXES | _LINKED and path.is_file() and cache.is_inside(path, folder):
                yield str(path.relative_to(folder))


def _commands(before: Sequence[Unit], after: Sequence[Unit]) -> list[str]:
    then, now = ({u.object: (u.source, u.command) for u in units} for units in (before, after))
    return sorted({(now.get(o) or then[o])[0] for o in then.keys() | now.keys() if then.get(o) != now.get(o)})
