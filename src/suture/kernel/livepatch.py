"""The live patches of the running kernel as sysfs shows them, and loading, disabling, unloading. Standard library only.

Sources: Documentation/ABI/testing/sysfs-kernel-livepatch, finit_module(2), delete_module(2).
"""

from __future__ import annotations

import errno
import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from suture.elf.file import build_id_in
from suture.error import ExitCode, SutureError
from suture.number import BuildId
from suture.process import syscall
from suture.report.reason import Reason

SYS = Path("/sys")


class LoadFailed(SutureError):
    """The kernel refuses a module."""

    exit_code = ExitCode.REFUSED


@dataclass(frozen=True)
class LoadedPatch:
    """A livepatch module that the kernel has. `functions` are (object, name, position); `record` its read-only
    parameters.

    `enabled` without `transition` means in force; a module that is loaded and in no list of the kernel is disabled.
    """

    name: str
    enabled: bool
    transition: bool
    functions: tuple[tuple[str, str, int], ...]
    record: Mapping[str, str]

    @property
    def is_ours(self) -> bool:
        return "patch" in self.record and "target" in self.record

    @property
    def state(self) -> str:
        if self.transition:
            return "being applied" if self.enabled else "being reverted"
        return "applied" if self.enabled else "disabled"

    @property
    def cves(self) -> tuple[str, ...]:
        return tuple(x for x in self.record.get("cves", "").split(",") if x)

    @property
    def fixes(self) -> tuple[str, ...]:
        return tuple(x for x in self.record.get("fixes", "").split(",") if x)


def patches(sys: Path = SYS) -> tuple[LoadedPatch, ...]:
    """All live patches, also those of others, and our own modules that are loaded and disabled."""
    found = {}
    for folder in sorted((sys / "kernel/livepatch").glob("*")):
        functions = []
        for place in sorted(folder.glob("*/*,*")):
            name, _, position = place.name.rpartition(",")
            functions.append((place.parent.name, name, int(position)))
        found[folder.name] = LoadedPatch(
            folder.name,
            _flag(folder / "enabled"),
            _flag(folder / "transition"),
            tuple(functions),
            record(folder.name, sys),
        )
    for folder in sorted((sys / "module").glob("suture_*")):
        if folder.name not in found:
            found[folder.name] = LoadedPatch(folder.name, False, False, (), record(folder.name, sys))
    return tuple(found.values())


def record(name: str, sys: Path = SYS) -> dict[str, str]:
    """The read-only parameters of a loaded module."""
    folder = sys / "module" / name / "parameters"
    found = {}
    for path in sorted(folder.glob("*")):
        try:
            found[path.name] = path.read_text().strip()
        except OSError:
            continue
    return found


def build_id(sys: Path = SYS) -> BuildId:
    """The GNU build-id of the running vmlinux."""
    try:
        return build_id_in((sys / "kernel/notes").read_bytes()) or BuildId("")
    except OSError:
        return BuildId("")


def module_build_ids(names: tuple[str, ...], sys: Path = SYS) -> dict[str, BuildId]:
    """Build-ids of those modules that are loaded."""
    found = {}
    for name in names:
        path = sys / "module" / name / "notes/.note.gnu.build-id"
        if path.exists():
            found[name] = build_id_in(path.read_bytes()) or BuildId("")
    return found


def load(path: Path, parameters: str = "") -> None:
    """Load a module. Raises `LoadFailed` with what the kernel says."""
    mark = _log_end()
    with open(path, "rb") as file:
        try:
            syscall.finit_module(file.fileno(), parameters.encode())
        except OSError as problem:
            said = _log_since(mark)
            number = problem.errno or 0
            why, remedy = _MEANING.get(number, (os.strerror(number), "see the kernel's log (dmesg)"))
            raise LoadFailed(
                "\n".join([f"{path}: the kernel refuses it: {why}", *said[-8:]]),
                remedy,
                reason=Reason.MODULE_REJECTED,
            ) from problem


def unload(name: str) -> None:
    """Unload a module that is not in use. Raises `LoadFailed`."""
    try:
        syscall.delete_module(name, os.O_NONBLOCK)
    except FileNotFoundError:
        pass
    except OSError as problem:
        raise LoadFailed(
            f"{name}: can't be unloaded: {os.strerror(problem.errno or 0)}",
            "look at lsmod for what uses it",
            reason=Reason.MODULE_IN_USE,
        ) from problem


def set_enabled(name: str, wanted: bool, sys: Path = SYS) -> None:
    """Begin a transition, or turn one round. Raises OSError as the kernel says."""
    (sys / "kernel/livepatch" / name / "enabled").write_text("1" if wanted else "0")


_MEANING: dict[int, tuple[str, str]] = {
    errno.EPERM: ("not permitted", "be root; under lockdown the module must be signed: suture make --sign-key KEY"),
    errno.ENOKEY: ("it is not signed by a key that this kernel trusts", "sign it with an enrolled key: --sign-key KEY"),
    errno.EKEYREJECTED: ("its signature is not accepted", "sign it with an enrolled key: --sign-key KEY"),
    errno.ENOEXEC: ("it was made for another kernel", "make it for the running one: uname -r tells which"),
    errno.EBUSY: ("another transition is under way", "wait for it to end: suture status --kernel"),
    errno.EEXIST: ("it is loaded already", "suture status --kernel"),
    errno.EINVAL: ("a function or symbol of it is not there", "report this with the kernel's log"),
    errno.ENODEV: ("the kernel has no live patching", "use a kernel with CONFIG_LIVEPATCH"),
}


def _log_end() -> int:
    return len(_log())


def _log_since(mark: int) -> list[str]:
    return _log()[mark:]


def _log() -> list[str]:
    """The kernel's log; empty where it may not be read."""
    found = []
    try:
        handle = os.open("/dev/kmsg", os.O_RDONLY | os.O_NONBLOCK)
    except OSError:
        return []
    try:
        while True:
            try:
                text = os.read(handle, 8192).decode(errors="replace")
            except BrokenPipeError:
                continue
            found.append(text.partition(";")[2].split("\n")[0])
    except OSError:
        pass
    finally:
        os.close(handle)
    return found


def _flag(path: Path) -> bool:
    try:
        return path.read_text().strip() == "1"
    except OSError:
        return False
