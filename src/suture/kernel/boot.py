"""Patches that are loaded again at boot, early and once: files by the kernel's build-id, systemd units, and the crash
guard (`mark.py`): a patch that the machine has died with is not tried again until a person says so.
"""

from __future__ import annotations

import os
import sys
from dataclasses import dataclass
from pathlib import Path

from suture import whole_file
from suture.command import run
from suture.error import ExitCode, SutureError
from suture.kernel import livepatch, mark
from suture.kernel.manifest import KernelPatch, read_patch
from suture.kernel.mark import DIED, SETTLED_MINUTES
from suture.report.kernel import AtBoot
from suture.visible import visible

UNITS = Path("/etc/systemd/system")
_TIMEOUT = 60.0

_LOADER, _TIMER, _SETTLED = "suture-kernel.service", "suture-kernel-settled.timer", "suture-kernel-settled.service"
_TEXTS = {
    _LOADER: """\
[Unit]
Description=Live patches of the running kernel
Documentation=https://docs.kernel.org/livepatch/livepatch.html
DefaultDependencies=no
RequiresMountsFor={folder}
After=local-fs.target
Before=sysinit.target shutdown.target
Conflicts=shutdown.target
ConditionDirectoryNotEmpty={folder}
ConditionPathExists={package}/suture/kernel/boot.py

[Service]
Type=oneshot
Environment=PYTHONPATH={package} PYTHONDONTWRITEBYTECODE=1
RemainAfterExit=yes
ExecStart={python} -m suture.kernel.boot load
ExecStop={python} -m suture.kernel.boot settled

[Install]
WantedBy=sysinit.target
""",
    _TIMER: """\
[Unit]
Description=The kernel has run well for {minutes} minutes with its live patches

[Timer]
OnActiveSec={minutes}min

[Install]
WantedBy=timers.target
""",
    _SETTLED: """\
[Unit]
Description=Take the live patches of the running kernel for sound
RequiresMountsFor={folder}

[Service]
Type=oneshot
Environment=PYTHONPATH={package} PYTHONDONTWRITEBYTECODE=1
ExecStart={python} -m suture.kernel.boot settled
""",
}


@dataclass(frozen=True)
class Loaded:
    """What became of one kept patch at boot, in a line."""

    line: str
    exit_code: ExitCode = ExitCode.OK


def folder() -> Path:
    """Where patches are kept: `$SUTURE_STATE`, else /var/lib/suture; one folder for each kernel's build-id."""
    return Path(os.environ.get("SUTURE_STATE", "/var/lib/suture")) / "kernel"


def unit_texts() -> dict[str, str]:
    """The systemd units by name, for this Python and the folder that this package lies in; without it they do
    nothing."""
    package = Path(__file__).resolve().parents[2]
    facts = {"folder": folder(), "python": sys.executable, "minutes": SETTLED_MINUTES, "package": package}
    return {name: text.format(**facts) for name, text in _TEXTS.items()}


def install(path: Path, patch: KernelPatch, units: Path = UNITS) -> None:
    """Keep a patch that has just been applied for each boot of its kernel, and enable the units where systemd runs.

    A cumulative one takes the place of others. The crash guard counts from now.
    """
    data = path.read_bytes()  # it may be one that is kept
    place = folder() / patch.manifest.target.build_id
    place.mkdir(parents=True, exist_ok=True)
    if patch.manifest.replace:
        for older in place.glob("*.ko"):
            _remove(older)
    kept = place / f"{patch.manifest.module}.ko"
    mark.begin(kept)
    _write(kept, data)
    if Path("/run/systemd/system").is_dir():
        for name, text in unit_texts().items():
            _write(units / name, text.encode())
        run(["systemctl", "daemon-reload"])
        run(["systemctl", "enable", _LOADER, _TIMER])
        run(["systemctl", "restart", _TIMER])


def forget(name: str) -> None:
    """Load a patch at boot no more."""
    for path in folder().glob(f"*/{name}.ko"):
        _remove(path)


def standing() -> tuple[AtBoot, ...]:
    """What is kept, and what the crash guard holds back."""
    rows = []
    for path in sorted(folder().glob("*/*.ko")):
        died = mark.died(path)
        state = f"held back: {DIED}" if died else "loaded at boot"
        rows.append(AtBoot(path.stem, path.parent.name, state, died))
    return tuple(rows)


def load_all(timeout: float = _TIMEOUT) -> list[Loaded]:
    """What the unit does: load each patch of the running kernel, in the order they were kept."""
    from suture.kernel.transition import apply

    said = []
    place = folder() / livepatch.build_id()
    for path in sorted(place.glob("*.ko"), key=lambda p: (p.stat().st_mtime_ns, p.name)):
        if mark.died(path):
            again = f"suture apply {path} --at-boot"
            said.append(Loaded(f"{path.stem}: not tried again, {DIED}; to try it: {again}", ExitCode.REFUSED))
            continue
        mark.begin(path)
        try:
            result = apply(path, read_patch(path, owned=True), timeout)
            said.append(Loaded(f"{path.stem}: {result.outcome.value}"))
        except (SutureError, OSError) as error:
            what = f"{error.what}; {error.remedy}" if isinstance(error, SutureError) else str(error)
            code = error.exit_code if isinstance(error, SutureError) else ExitCode.NOT_FOUND
            said.append(Loaded(f"{path.stem}: not applied: {what}", code))
            mark.drop(path)  # nothing of it runs
    return said


def settled() -> None:
    """The machine has run well with what it loaded, or is shut down in good order: this boot's marks go."""
    for path in folder().glob(f"*/*{mark.SUFFIX}"):
        if mark.is_loading(path):
            mark.drop(path)


def _write(path: Path, data: bytes) -> None:
    """Write a file so that it is on disk when this returns."""
    path.parent.mkdir(parents=True, exist_ok=True)
    whole_file.replace_durably(path, data, 0o666)


def _remove(path: Path) -> None:
    mark.drop(path)
    path.unlink(missing_ok=True)


def main(words: list[str]) -> int:
    """`load`, whose exit code is 0 when every kept patch is in force and that of the first that is not otherwise, or
    `settled`."""
    if words == ["settled"]:
        settled()
        return ExitCode.OK
    done = load_all()
    for one in done:
        print(visible(one.line))
    return next((one.exit_code for one in done if one.exit_code), ExitCode.OK)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
