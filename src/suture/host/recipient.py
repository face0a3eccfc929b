"""What a patch is put into: processes, or the running kernel. One interface, chosen by what a patch file is, not by its
name."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Protocol

from suture.elf.file import BadElf, ElfFile
from suture.error import BadOption, NotFound, Refused, Unsupported
from suture.kernel.manifest import KernelPatch
from suture.kernel.manifest import parse_patch as parse_kernel_patch
from suture.patch.admission import read_bytes
from suture.patch.file import MANIFEST_SECTION, PatchFile, parse_patch
from suture.patch.parts import parts_of_fixes
from suture.report.document import ApplyReport, PlanReport, RevertReport, ShowReport
from suture.report.patch import PatchKind
from suture.report.reason import Reason

_MOST_BYTES = 64 << 20
_NAMED = 4
_ID = re.compile(r"[0-9a-f]{16}")
_MODULE = re.compile(r"suture_\w+")
# a quotation mark inside a string of JSON is escaped, so this is a key and its value
_IS_KERNEL = re.compile(rb'"kind"\s*:\s*"kernel"')
_OF_MODULES = (".modinfo", ".gnu.linkonce.this_module")

Count = Callable[[int, int], None]
"""Called with how many processes are done with, and how many there are by now."""


def uncounted(done: int, of: int) -> None:
    """Count nothing; the default wherever a `Count` is taken."""


def refuse_for_kernel(*given: tuple[str, object, str]) -> None:
    """Raises `BadOption` for the first option (its name, its value, what to do instead) that has a value."""
    for option, value, remedy in given:
        if value:
            raise BadOption(f"{option} means nothing for a kernel", remedy)


@dataclass(frozen=True)
class ApplyOptions:
    """How a patch is applied. `timeout` in seconds, for all that is waited for; `jobs`: processes at a time, as many as
    there are processor cores by default. What is accepted, and `replace`, are as `suture apply --help` says. `aside`:
    one process alone is looked at from a child, which can be given up."""

    timeout: float = 10.0
    jobs: int | None = None
    replace: bool = False
    accept_partial: bool = False
    accept_unproved: bool = False
    accept_loss: bool = False
    at_boot: bool = False
    aside: bool = True


class Recipient(Protocol):
    """What a patch is put into and taken out of. `pids`: none means all processes that the patch is for, or that carry
    it.

    Everything raises `SutureError` where nothing was done at all; what became of single processes is in the document.
    """

    def apply(self, pids: Sequence[int], options: ApplyOptions, count: Count = uncounted) -> ApplyReport: ...

    def plan(self, pids: Sequence[int], options: ApplyOptions) -> PlanReport: ...

    def revert(self, pids: Sequence[int], to: str, options: ApplyOptions, count: Count = uncounted) -> RevertReport: ...

    def show(self) -> ShowReport: ...


def read(path: Path, *, owned: bool = False) -> PatchFile | KernelPatch:
    """A patch file, whatever it is for; with `owned` only one that nobody but root or the caller could have written.

    Raises `NotFound`, `BadPatch`, `NotOwned`, `Unreadable`.
    """
    data = read_bytes(path, _MOST_BYTES, owned=owned)
    return parse_kernel_patch(data, str(path)) if kind_of(data) is PatchKind.KERNEL else parse_patch(data, str(path))


def kind_of(data: bytes) -> PatchKind:
    """What a patch is for, by its content. For what is no patch at all it says PROCESS, whose reader tells what is
    wrong."""
    try:
        elf = ElfFile(data, "")
        if any(elf.section(name) is not None for name in _OF_MODULES):
            return PatchKind.KERNEL
        section = elf.section(MANIFEST_SECTION)
        text = elf.bytes_of(section) if section is not None else b""
    except (BadElf, Unsupported):
        return PatchKind.PROCESS
    return PatchKind.KERNEL if _IS_KERNEL.search(text) else PatchKind.PROCESS


def of_file(path: Path, *, owned: bool = False) -> Recipient:
    """The target of a patch file. Raises as `read` does."""
    from suture.host.kernel import RunningKernel
    from suture.host.processes import Processes

    patch = read(path, owned=owned)
    return RunningKernel.of(path, patch) if isinstance(patch, KernelPatch) else Processes.of(path, patch)


def of_files(paths: Sequence[Path], *, owned: bool = False, where_loaded: bool = False) -> Recipient:
    """The target of patch files that are applied together; a folder stands for those in it, which must have parts of
    one fix. With `where_loaded`, and for a folder, a process gets those whose binary it has loaded. Raises as `read`
    does, `BadOption`, `Refused`."""
    from suture.host.processes import Processes

    files = [file for path in paths for file in (_patches_in(path) if path.is_dir() else [path])]
    if len(files) == 1:
        return of_file(files[0], owned=owned)
    found: dict[str, Processes] = {}
    for file in files:
        patch = read(file, owned=owned)
        if isinstance(patch, KernelPatch):
            raise BadOption(
                f"{file}: is for the kernel, and the others are for processes: they cannot change in one stop",
                f"apply it by itself: suture apply {file}",
            )
        found.setdefault(patch.id, Processes.of(file, patch))
    first, *others = found.values()
    folders = [path for path in paths if path.is_dir()]
    if folders:
        refuse_apart(str(folders[0]), [p.file for p in found.values() if p.file is not None])
    return replace(first, companions=tuple(others), where_loaded=where_loaded or bool(folders))


def _patches_in(folder: Path) -> list[Path]:
    found = sorted(p for pattern in ("*.suture.o", "*.ko") for p in folder.glob(pattern))
    if not found:
        raise NotFound(
            f"{folder}: holds no live patch", "give .suture.o files, or their folder", reason=Reason.NO_PATCH_FILE
        )
    return found


def refuse_apart(where: str, patches: Sequence[PatchFile]) -> None:
    """Raises `Refused` unless all patches belong together."""
    if len(parts_of_fixes(patches)) > 1:
        names = ", ".join(sorted({f.name for p in patches for f in p.manifest.fixes})[:_NAMED])
        raise Refused(
            f"{where}: holds patches of fixes that have nothing to do with one another ({names})",
            "name those that belong together: suture apply ONE.suture.o OTHER.suture.o",
            reason=Reason.SEVERAL_FIXES,
        )


def named(word: str) -> Recipient:
    """The target of a patch that is carried: its id, the module's name, or its file. Raises `NotFound`, and as `read`
    does."""
    from suture.host.kernel import RunningKernel
    from suture.host.processes import Processes

    if _ID.fullmatch(word):
        return Processes(word)
    path = Path(word)
    if "/" in word or path.is_symlink() or path.exists():
        return of_file(path)
    if _MODULE.fullmatch(word):
        return RunningKernel(word)
    raise NotFound(
        f"no patch {word}: it is neither an id (16 digits, as suture status prints it) nor a file that is here",
        "give the patch first, then the processes: suture revert ID PID",
        reason=Reason.NO_PATCH_FILE,
    )
