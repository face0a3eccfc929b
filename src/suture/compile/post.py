"""Post: the files that a fix changes, as a layer to be put over a tree that itself never changes."""

from __future__ import annotations

import hashlib
import re
import shutil
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path

from suture.command import CommandFailed, run
from suture.error import Refused
from suture.source import cache
from suture.source.fix import FilePatch, Fix


def layer(key: str, files: Path, root: str, fix: Fix, places: Callable[[str], Iterable[str]]) -> Path:
    """The layer of a fix over the tree named `key`, made once. `files` are the tree's files on this host, `root` its
    place in the room.

    Raises `Refused` for a hunk that does not apply: offsets are allowed, fuzz is not.
    """
    name = hashlib.sha256(f"{key} {fix.sha256}".encode()).hexdigest()[:32]

    def make(folder: Path) -> None:
        target = folder / root.lstrip("/")
        target.mkdir(parents=True)
        for part in fix.files:
            for path in places(part.path):
                apply(part, files, target, path, fix.name)

    return cache.item(cache.root() / "post" / name, make)


def texts(key: str, root: str, files: Mapping[str, bytes]) -> Path:
    """The layer with these contents of files (by path in the tree) over the tree named `key`, made once."""
    digest = hashlib.sha256(key.encode())
    for path, text in sorted(files.items()):
        digest.update(f"\0{path}\0{len(text)}\0".encode() + text)

    def make(folder: Path) -> None:
        target = folder / root.lstrip("/")
        for path, text in files.items():
            place = target / path
            if not cache.is_inside(place, target):
                raise Refused(f"{path}: a link leads out of the source", "check where the source comes from")
            place.parent.mkdir(parents=True, exist_ok=True)
            place.write_bytes(text)

    return cache.item(cache.root() / "post" / digest.hexdigest()[:32], make)


def apply(part: FilePatch, files: Path, target: Path, path: str, name: str) -> None:
    """Apply the change of one file: read from `files` (or from `target`, if it was changed before), written to
    `target`."""
    place = target / path
    if not cache.is_inside(place, target):
        raise Refused(f"{name}: {part.path}: a link leads out of the source", "check where the patch comes from")
    place.parent.mkdir(parents=True, exist_ok=True)
    origin = files / path
    if not place.exists() and origin.is_file():
        shutil.copy2(origin, place, follow_symlinks=True)
    if part.deletes:
        raise Refused(
            f"{name}: deletes {part.path}", "leave that file out with --only: a unit that is gone cannot be patched"
        )
    if not part.creates and not place.exists():
        raise Refused(f"{name}: {part.path}: the source has no such file", "check that the fix belongs to this version")
    if not part.has_hunks:
        place.touch()
        return
    before = place.read_bytes().decode(errors="surrogateescape") if place.exists() else ""
    options = ["--unified", "--batch", "--forward", "--fuzz=0", "--no-backup-if-mismatch", "--reject-file=-", "--quiet"]
    try:
        run(["patch", *options, "--", place.name], cwd=place.parent, stdin=part.text.encode(errors="surrogateescape"))
    except CommandFailed as failed:
        place.write_bytes(before.encode(errors="surrogateescape"))
        if _is_there(part, place):
            raise Refused(
                f"{name}: {part.path}: the source has the change already",
                "there is nothing to do for this file: leave it out with --only, or check that the version is the "
                "one that is shipped",
            ) from failed
        hunk = _first_failed(part, before)
        raise Refused(
            f"{name}: {part.path}: hunk {hunk} does not apply",
            "bring the patch to this version first (its context must agree; line numbers need not)",
        ) from failed


def _is_there(part: FilePatch, place: Path) -> bool:
    """Whether a file has all of a change: the change could be taken back exactly."""
    options = ["--unified", "--batch", "--reverse", "--force", "--dry-run", "--fuzz=0", "--reject-file=-", "--quiet"]
    try:
        run(["patch", *options, "--", place.name], cwd=place.parent, stdin=part.text.encode(errors="surrogateescape"))
    except CommandFailed:
        return False
    return True


def _first_failed(part: FilePatch, text: str) -> str:
    """Number and header of the first hunk whose old lines are nowhere in the file."""
    hunks = re.split(r"^(?=@@ )", part.text, flags=re.M)[1:]
    for number, hunk in enumerate(hunks, 1):
        head, _, body = hunk.partition("\n")
        old = "".join(x[1:] for x in re.findall(r"[^\n]*\n", body) if x[:1] in {" ", "-"})
        if old not in text:
            return f"{number} ({head.strip()})"
    return "1"
