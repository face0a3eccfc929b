"""Processes of this host that start with a file that a patch is for: held and patched before its code runs."""

from __future__ import annotations

import stat
import time
from collections.abc import Callable, Sequence
from contextlib import ExitStack, suppress
from dataclasses import dataclass
from pathlib import Path

from suture.elf.file import BadElf, ElfFile
from suture.error import BadOption, ExitCode, NotFound, SutureError, Unsupported
from suture.host.facts import this_host
from suture.number import BuildId
from suture.patch.file import PatchFile
from suture.process.see.find import every_process
from suture.process.start.guard import Guard, Start
from suture.process.start.opening import FileId, Openings
from suture.report.document import GuardReport
from suture.report.moment import now
from suture.report.reason import Reason
from suture.report.start import GuardedFile, StartedProcess, StartEnd


class NotAllowed(SutureError):
    """The kernel asks only root when files are opened."""

    exit_code = ExitCode.NO_PERMISSION


@dataclass(frozen=True)
class _Guarded:
    """A file by a name under which this process can open it; `shown` as people know it."""

    name: str
    shown: str
    patch: PatchFile


def guard(
    patches: Sequence[PatchFile],
    files: Sequence[Path],
    begun: Callable[[Sequence[GuardedFile]], None],
    told: Callable[[StartedProcess], None],
    go_on: Callable[[], bool],
) -> GuardReport:
    """Hold and patch what starts with a file that one of `patches` is for, until `go_on` says no. Guarded are `files`,
    and what running processes have mapped. `begun` is told which these are.

    Raises NotFound when there is no such file, BadOption for one that no patch is for, NotAllowed, Unsupported.
    """
    by_build = {p.manifest.target.build_id: p for p in patches}
    places = [*_given(files, by_build), *_mapped(by_build)]
    began = time.monotonic()
    starts: list[StartedProcess] = []
    with ExitStack() as kept:
        asked = kept.enter_context(openings())
        guarded: dict[FileId, _Guarded] = {}
        for place in places:
            with suppress(FileNotFoundError):  # the process has ended
                guarded.setdefault(asked.add(place.name), place)
        missing = sorted({p.manifest.target.file for p in patches if p not in [g.patch for g in guarded.values()]})
        if missing:
            raise NotFound(
                f"{', '.join(missing)}: no running process has loaded the build that the patch is for",
                "name the file: --file PATH",
                reason=Reason.NO_SUCH_BUILD,
            )
        shown = tuple(GuardedFile(p.shown, p.patch.manifest.target.build_id, p.patch.id) for p in guarded.values())
        begun(shown)

        def add(start: Start) -> None:
            place = guarded[start.file]
            row = StartedProcess(
                start.pid,
                start.command,
                place.shown,
                place.patch.id,
                start.end,
                start.stops,
                start.held_us,
                start.error,
            )
            starts.append(row)
            told(row)

        let_go = Guard(asked, {file: [place.patch] for file, place in guarded.items()}).run(add, go_on)
    failed = let_go or any(s.end in (StartEnd.FAILED, StartEnd.EXECUTED) for s in starts)
    code = ExitCode.PARTIAL if failed else ExitCode.OK
    return GuardReport(now(), code, this_host(), shown, tuple(starts), let_go, time.monotonic() - began)


def openings() -> Openings:
    """A group of guarded files, empty. Raises NotAllowed, Unsupported."""
    try:
        return Openings()
    except PermissionError as problem:
        raise NotAllowed(
            "openings of files may not be held by you",
            "run it as root of the host, not of a container",
            reason=Reason.DENIED_OPENINGS,
        ) from problem
    except OSError as problem:
        raise Unsupported(
            f"openings of files cannot be held: {problem.strerror}",
            "use a kernel with CONFIG_FANOTIFY_ACCESS_PERMISSIONS, or apply the patch after starts: suture apply PATCH",
            reason=Reason.NO_OPENINGS,
        ) from problem


def is_build_of_root(path: Path, build_id: str) -> bool:
    """Whether this is a plain file of root's with this build-id. Raises OSError."""
    facts = path.stat()
    if not stat.S_ISREG(facts.st_mode) or facts.st_uid:
        return False
    try:
        return ElfFile.read(path).build_id == build_id
    except BadElf:
        return False


def _given(files: Sequence[Path], by_build: dict[BuildId, PatchFile]) -> list[_Guarded]:
    found = []
    for path in files:
        try:
            build = ElfFile.read(path).build_id or BuildId("")
        except OSError as problem:
            raise NotFound(
                f"{path}: {problem.strerror}", "give a file that is there", reason=Reason.MISSING
            ) from problem
        except BadElf:
            build = BuildId("")
        if build not in by_build:
            raise BadOption(
                f"{path}: none of the patches is for this build", "see what a patch is for: suture show PATCH"
            )
        found.append(_Guarded(str(path), str(path), by_build[build]))
    return found


def _mapped(by_build: dict[BuildId, PatchFile]) -> list[_Guarded]:
    """Files that processes have mapped, each by the mapping itself: a name may mean another file by now."""
    found = []
    for process in every_process()[0]:
        for image in process.images:
            if image.build_id in by_build and not image.is_deleted:
                for mapping in process.maps.mappings:
                    if mapping.inode == image.inode and mapping.device == image.device:
                        name = f"/proc/{process.via}/map_files/{mapping.start:x}-{mapping.end:x}"
                        found.append(_Guarded(name, image.path, by_build[image.build_id]))
                        break
    return found
