"""Patches that are loaded again at boot, early and once: files by the kernel's build-id, a systemd unit, and the crash guard.

Before a patch is loaded at boot, a mark is written to disk; it goes when the transition has ended. A mark that is still there at the
next boot tells that the machine died while it was loading that patch: it is not tried again until a person says so.
"""

from __future__ import annotations

import os
import sys
from dataclasses import dataclass
from pathlib import Path

from suture.command import run
from suture.error import SutureError
from suture.kernel import livepatch
from suture.kernel.manifest import KernelPatch, read_patch
from suture.visible import visible

UNIT = Path("/etc/systemd/system/suture-kernel.service")
_MARK = ".loading"
_TIMEOUT = 60.0

_TEXT = """\
[Unit]
Description=Live patches of the running kernel
Documentation=https://docs.kernel.org/livepatch/livepatch.html
DefaultDependencies=no
After=local-fs.target
Before=sysinit.target
ConditionDirectoryNotEmpty={folder}

[Service]
Type=oneshot
RemainAfterExit=yes
ExecStart={python} -m suture.kernel.boot

[Install]
WantedBy=sysinit.target
"""


@dataclass(frozen=True)
class AtBoot:
    """A patch that is kept for the next boot of a kernel."""

    name: str
    build_id: str
    state: str


def folder() -> Path:
    """Where patches are kept: `$SUTURE_STATE`, else /var/lib/suture; one folder for each kernel's build-id."""
    return Path(os.environ.get("SUTURE_STATE", "/var/lib/suture")) / "kernel"


def unit_text() -> str:
    """The systemd unit, for this Python."""
    return _TEXT.format(folder=folder(), python=sys.executable)


def install(path: Path, patch: KernelPatch, unit: Path = UNIT) -> None:
    """Keep a patch for each boot of its kernel, and enable the unit where systemd runs. A cumulative one takes the place of others."""
    place = folder() / patch.manifest.target.build_id
    place.mkdir(parents=True, exist_ok=True)
    if patch.manifest.replace:
        for older in place.glob("*.ko"):
            _remove(older)
    _write(place / f"{patch.manifest.module}.ko", path.read_bytes())
    if Path("/run/systemd/system").is_dir():
        _write(unit, unit_text().encode())
        run(["systemctl", "enable", unit.name])


def forget(name: str) -> None:
    """Load a patch at boot no more."""
    for path in folder().glob(f"*/{name}.ko"):
        _remove(path)


def standing() -> tuple[AtBoot, ...]:
    """What is kept, and what the crash guard holds back."""
    rows = []
    for path in sorted(folder().glob("*/*.ko")):
        guarded = path.with_suffix(_MARK).exists()
        state = "held back: the machine died while loading it" if guarded else "loaded at boot"
        rows.append(AtBoot(path.stem, path.parent.name, state))
    return tuple(rows)


def load_all(timeout: float = _TIMEOUT) -> list[str]:
    """What the unit does: load each patch of the running kernel, in the order they were kept. A line for each."""
    from suture.kernel.transition import apply

    said = []
    place = folder() / livepatch.build_id()
    for path in sorted(place.glob("*.ko"), key=lambda p: (p.stat().st_mtime_ns, p.name)):
        mark = path.with_suffix(_MARK)
        if mark.exists():
            said.append(f"{path.stem}: not tried again, the machine died while loading it (suture apply {path} tries)")
            continue
        _write(mark, b"")
        try:
            result = apply(path, read_patch(path), timeout)
            said.append(f"{path.stem}: {result.outcome.value}")
        except SutureError as error:
            said.append(f"{path.stem}: {error.what}; {error.remedy}")
        mark.unlink()
        _sync(place)
    return said


def _write(path: Path, data: bytes) -> None:
    """Write a file so that it is on disk when this returns."""
    path.parent.mkdir(parents=True, exist_ok=True)
    new = path.with_name(f".{path.name}.new")
    with open(new, "wb") as file:
        file.write(data)
        file.flush()
        os.fsync(file.fileno())
    new.rename(path)
    _sync(path.parent)


def _sync(place: Path) -> None:
    handle = os.open(place, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def _remove(path: Path) -> None:
    path.with_suffix(_MARK).unlink(missing_ok=True)
    path.unlink(missing_ok=True)


if __name__ == "__main__":
    for line in load_all():
        print(visible(line))
