"""What a host asks of a patch file before it changes anything by it: a plain file that only root could have written,
whole, with a verdict and a proof, or a person who says that they do without.

The rule for the path is that of sshd's StrictModes: every folder and link on the way belongs to root or to who runs
Suture, and nobody else may write there; in a folder with the sticky bit others cannot replace what is not theirs.
"""

from __future__ import annotations

import os
import shlex
import stat
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TypeVar

from suture.error import ExitCode, NotFound, Refused, SutureError
from suture.patch.manifest import BadPatch
from suture.report.reason import Cause, Reason

T = TypeVar("T")
_OTHERS_WRITE = stat.S_IWGRP | stat.S_IWOTH


class NotOwned(Refused):
    """Somebody else could have written the file, or put another in its place."""


class Unreadable(SutureError):
    """The file is there and may not be read."""

    exit_code = ExitCode.NO_PERMISSION


def read_bytes(path: Path, most: int, *, owned: bool = False) -> bytes:
    """A plain file's contents, never waiting for a pipe, a device or the holder of a lease (fcntl(2), F_SETLEASE).

    `owned`: only a file that nobody else could have written. Raises `NotFound`, `BadPatch`, `NotOwned`, `Unreadable`.
    """
    try:
        return _read_bytes(path, most, owned)
    except PermissionError as problem:
        raise Unreadable(
            f"{path}: {problem.strerror}", "run as root, or as the file's owner", reason=Reason.DENIED_PATCH
        ) from problem
    except BlockingIOError as problem:
        raise Unreadable(
            f"{path}: another process holds a lease on it",
            "take a copy of the file that is yours",
            reason=Reason.DENIED_PATCH,
        ) from problem
    except (FileNotFoundError, ValueError) as problem:  # ValueError: a zero byte in the name
        raise NotFound(
            f"{path}: no such patch file",
            "give the path of a file that `suture make` wrote",
            reason=Reason.NO_PATCH_FILE,
        ) from problem
    except OSError as problem:
        raise NotFound(
            f"{path}: {problem.strerror}",
            "give the path of a file that `suture make` wrote",
            reason=Reason.NO_PATCH_FILE,
        ) from problem


def read_folder(folder: Path, patterns: Sequence[str], read: Callable[[Path], T]) -> tuple[list[T], list[Cause]]:
    """All patch files of a folder that shell patterns name, and what is wrong with those that cannot be read."""
    found, bad = [], []
    for path in sorted({p for pattern in patterns for p in folder.glob(pattern)}):
        try:
            found.append(read(path))
        except SutureError as problem:
            bad.append(problem.cause)
    return found, bad


def _read_bytes(path: Path, most: int, owned: bool) -> bytes:
    place = os.open(path, os.O_PATH | os.O_CLOEXEC)
    try:
        # opening a device or a pipe can have effects or wait, so what it is comes first
        if not stat.S_ISREG(os.fstat(place).st_mode):
            raise BadPatch(str(path), "is no regular file", reason=Reason.PATCH_FOREIGN)
        if owned:
            _check_owned(path, place)
        return _read(path, place, most)
    finally:
        os.close(place)


def _read(path: Path, place: int, most: int) -> bytes:
    opened = os.open(f"/proc/self/fd/{place}", os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    try:
        size = os.fstat(opened).st_size
        if size > most:
            raise BadPatch(str(path), f"{size} bytes is more than any patch has")
        parts, left = [], size
        while left and (part := os.read(opened, left)):
            parts.append(part)
            left -= len(part)
        return b"".join(parts)
    finally:
        os.close(opened)


def _check_owned(path: Path, place: int) -> None:
    """The file itself by its descriptor; the way to it as given, and as it is without links."""
    real = Path(os.readlink(f"/proc/self/fd/{place}"))
    _check_place(real, os.fstat(place))
    given = Path(os.path.abspath(path))
    for way in dict.fromkeys((given, real)):
        for folder in way.parents:
            _check_place(folder, folder.stat())
        for step in (way, *way.parents):
            _check_owner(step, step.lstat())
    if not os.path.samestat(os.fstat(place), given.stat()):
        raise NotOwned(
            f"{path}: another file is in its place now",
            "apply it again from a folder that nobody else may write to",
            reason=Reason.NOT_OWNED,
        )


def _check_place(path: Path, facts: os.stat_result) -> None:
    _check_owner(path, facts)
    sticky = stat.S_ISDIR(facts.st_mode) and facts.st_mode & stat.S_ISVTX
    if facts.st_mode & _OTHERS_WRITE and not sticky:
        raise NotOwned(
            f"{path}: others than its owner may write it (mode {stat.S_IMODE(facts.st_mode):04o})",
            f"make sure that it is the right one, then: chmod go-w {shlex.quote(str(path))}",
            reason=Reason.NOT_OWNED,
        )


def _check_owner(path: Path, facts: os.stat_result) -> None:
    if facts.st_uid not in (0, os.geteuid()):
        raise NotOwned(
            f"{path}: belongs to user {facts.st_uid}, who could have put anything there",
            f"make sure that it is the right one, then: chown root {shlex.quote(str(path))}",
            reason=Reason.NOT_OWNED,
        )


def admit(
    name: str,
    *,
    is_complete: bool,
    is_proved: bool,
    missing: Sequence[str],
    accept_partial: bool = False,
    accept_unproved: bool = False,
) -> None:
    """Raises `Refused` for a patch without all of its fix or without a proof, unless that is accepted. `missing` are
    reasons."""
    if not is_complete and not accept_partial:
        raise Refused(
            f"{name}: not all of the fix is in this patch{f' ({missing[0]})' if missing else ''}",
            f"suture show {shlex.quote(name)} lists what is missing; to apply what the patch does hold, add "
            "--accept-partial",
            reason=Reason.PATCH_PARTIAL,
        )
    if not is_proved and not accept_unproved:
        raise Refused(
            f"{name}: carries no proof that its addresses are those of the binary",
            "make it again from source: suture make; or apply it all the same with --accept-unproved",
            reason=Reason.PATCH_UNPROVED,
        )
