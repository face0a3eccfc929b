"""Where each process stands: what it runs, against known patches and against what is installed on disk.

Fixed in memory and fixed on disk are different things and are told apart: a process that still runs the old file needs its live
patch or a restart, one whose file is old again loses its patch with the next start.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Sequence
from dataclasses import dataclass
from enum import Enum
from pathlib import Path

from suture.elf.file import build_id_in
from suture.error import SutureError
from suture.patch.file import SUFFIX, PatchFile, read_patch
from suture.process.copies import Copies
from suture.process.error import NoPermission, NoProcess
from suture.process.find import Found, Unread, every_process
from suture.process.image import Image
from suture.process.placed import State
from suture.process.status import PatchStatus, patches_of

_NAMED = 3


class Standing(Enum):
    """One of four that are kept apart."""

    FIXED_IN_MEMORY = "fixed in memory"
    PARTLY_FIXED = "partly fixed in memory"
    FIXED_ON_DISK = "fixed on disk only"
    NOT_FIXED = "not fixed"
    UNKNOWN = "unknown"


@dataclass(frozen=True)
class Row:
    """One process and one binary. `why` is the reason in words; `patches` are ids."""

    pid: int
    command: str
    file: str
    build_id: str
    standing: Standing
    patches: tuple[str, ...]
    cves: tuple[str, ...]
    why: str


def read_patches(folder: Path) -> tuple[list[PatchFile], list[str]]:
    """All patch files of a folder, and what is wrong with those that cannot be read."""
    found, bad = [], []
    for path in sorted(folder.glob(f"*{SUFFIX}")):
        try:
            found.append(read_patch(path))
        except SutureError as problem:
            bad.append(problem.what)
    return found, bad


def scan(patches: Sequence[PatchFile]) -> list[Row]:
    """A row for each process and binary that a patch is for, that carries a patch, whose file was replaced on disk, or that
    holds a copy of a library's old code."""
    by_target: dict[str, list[PatchFile]] = {}
    for patch in patches:
        by_target.setdefault(patch.manifest.target.build_id, []).append(patch)
    found, unread = every_process()
    on_disk: dict[tuple[str, str], str | None] = {}
    copies = Copies(patches)
    rows: list[Row] = []
    for process in found:
        rows += _rows(process, by_target, on_disk)
        rows += _copies(process, copies)
    return rows + [_unread_row(u) for u in unread]


def _copies(process: Found, copies: Copies) -> list[Row]:
    """What a static program holds of a library's old code: exposed, and out of the library's patch's reach."""
    try:
        holder = copies.held_by(process)
    except (NoProcess, NoPermission):
        return []
    if holder is None:
        return []
    build_id = next((i.build_id for i in process.images if i.path == holder.path), "")
    rows = []
    for copy in holder.copies:
        target = copy.patch.manifest.target
        if target.build_id == build_id:
            continue  # the patch is for this very program
        names = ", ".join(f"{name} at {address:#x}" for name, address in copy.functions[:_NAMED])
        more = f" and {len(copy.functions) - _NAMED} more" if len(copy.functions) > _NAMED else ""
        why = (
            f"linked statically, with a copy of {target.file}'s code of its own: {len(copy.functions)} of {copy.of} functions that "
            f"{copy.patch.manifest.name} replaces ({names}{more}); that patch cannot reach them: rebuild the program, or make a "
            "patch for it (suture make --tree)"
        )
        if holder.is_deleted:
            why += "; its file was replaced or deleted meanwhile"
        cves = tuple(sorted(copy.patch.manifest.cves))
        rows.append(Row(process.pid, process.command, holder.path, build_id, Standing.NOT_FIXED, (), cves, why))
    return rows


def _unread_row(process: Unread) -> Row:
    return Row(process.pid, process.command, "", "", Standing.UNKNOWN, (), (), f"cannot be looked at: {process.why}")


def _rows(
    process: Found, by_target: dict[str, list[PatchFile]], on_disk: dict[tuple[str, str], str | None]
) -> list[Row]:
    carried = patches_of(process.pid, process.maps)
    rows = []
    for image in _distinct(process.images):
        mine = [s for s in carried if s.build_id == image.build_id]
        wanted = by_target.get(image.build_id, [])
        if mine or wanted or image.is_deleted:
            rows.append(_row(process, image, mine, wanted, on_disk))
    return rows


def _distinct(images: Sequence[Image]) -> list[Image]:
    return list({(i.build_id, i.path): i for i in images}.values())


def _row(
    process: Found,
    image: Image,
    carried: Sequence[PatchStatus],
    wanted: Sequence[PatchFile],
    on_disk: dict[tuple[str, str], str | None],
) -> Row:
    disk = _disk_build_id(process.pid, image, on_disk)
    applied = [s for s in carried if s.state is State.APPLIED]
    odd = [s for s in carried if s.state in (State.PARTIAL, State.INTERRUPTED, State.DAMAGED)]
    retired = {r for p in wanted if p.id in {s.id for s in applied} for r in p.manifest.supersedes}
    missing = [
        p
        for p in wanted
        if p.id not in {s.id for s in applied} and p.id not in retired and p.manifest.name not in retired
    ]
    replaced = disk is not None and disk != image.build_id
    parts = [f"{s.name or s.id} is {s.state.value}" for s in [*applied, *odd]]
    parts += [
        f"{p.manifest.name} ({', '.join(p.manifest.cves) or p.id}) is not applied"
        for p in missing
        if p.id not in {s.id for s in odd}
    ]
    if replaced:
        parts.append(
            f"the file on disk is now build-id {disk[:16] if disk else ''}, the process still runs the old one"
        )
    elif disk is None and image.is_deleted:
        parts.append("the file was deleted")
    if applied and not odd and not missing:
        standing = Standing.FIXED_IN_MEMORY
        if not replaced and disk is not None:
            parts.append("the file on disk is not fixed: lost at the next start")
    elif applied or odd:
        standing = Standing.PARTLY_FIXED
    elif replaced:
        standing = Standing.FIXED_ON_DISK
    elif missing:
        standing = Standing.NOT_FIXED
    else:
        standing = Standing.UNKNOWN
    ids = tuple(s.id for s in [*applied, *odd])
    cves = tuple(
        sorted({c for p in missing for c in p.manifest.cves} if missing else {c for s in applied for c in s.cves})
    )
    return Row(process.pid, process.command, image.path, image.build_id, standing, ids, cves, "; ".join(parts))


def _disk_build_id(pid: int, image: Image, known: dict[tuple[str, str], str | None]) -> str | None:
    """Build-id of the file that now has the image's path, in the process's own root; None when there is none to read.

    The path is the process's choice: only a regular file is opened, never a device or a pipe, and only its start is read.
    """
    try:
        root = os.readlink(f"/proc/{pid}/root")
        mount = os.readlink(f"/proc/{pid}/ns/mnt")
    except OSError:
        return None
    key = (f"{mount} {root}", image.path)
    if key not in known:
        known[key] = _read_build_id(f"/proc/{pid}/root{image.path}")
    return known[key]


def _read_build_id(path: str) -> str | None:
    try:
        place = os.open(path, os.O_PATH | os.O_CLOEXEC)
    except (OSError, ValueError):
        return None
    try:
        # opening a device can have effects, so what it is comes first
        if not stat.S_ISREG(os.fstat(place).st_mode):
            return None
        with open(f"/proc/self/fd/{place}", "rb", buffering=0) as file:
            start = file.read(1 << 16)
    except OSError:
        return None
    finally:
        os.close(place)
    if start[:5] != b"\x7fELF\x02":
        return None
    phoff, count = int.from_bytes(start[32:40], "little"), int.from_bytes(start[56:58], "little")
    for n in range(min(count, 64)):
        header = start[phoff + 56 * n : phoff + 56 * (n + 1)]
        if len(header) == 56 and int.from_bytes(header[:4], "little") == 4:
            at, size = int.from_bytes(header[8:16], "little"), int.from_bytes(header[32:40], "little")
            found = build_id_in(start[at : at + size])
            if found:
                return found
    return None
