"""Live patches in QEMU while a guest watches itself: device models and block code of bookworm, and real fixes of
bullseye.

Everything is the archive's: both emulators, the sources that the patches are made from, the guest's kernel.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from facts import RESULTS, Start
from qemu.machine import Beat, Guest, prepare, started
from qemu.old_release import entered, layer
from qemu.sdhci import controller
from qemu_guest_page import document

from suture.error import SutureError
from suture.patch.file import PatchFile, read_patch
from suture.process.change.apply import apply
from suture.process.change.revert import revert

_HERE = Path(__file__).resolve().parent
_PAGE = _HERE.parent / "docs/results/qemu.md"
NEW, OLD = "1:7.2+dfsg-7+deb12u18", "1:5.2+dfsg-11+deb11u3"
FIXED = "1:5.2+dfsg-11+deb11u5"
WRITTEN = ("e1000e", "virtio-net", "lsi53c895a", "websock", "qcow2")
REAL = (
    ("CVE-2024-3447_0001-hw-sd-sdhci-Do-not-update-TRNMOD-when-Command-Inhibi.patch",),
    ("CVE-2023-6693_0001-virtio-net-correctly-copy-vnet-header-when-flushing-.patch",),
    ("CVE-2023-5088_0003-hw-ide-reset-cancel-async-DMA-operation-before-reset.patch",),
    ("CVE-2023-1544-0001-hw-pvrdma-Protect-against-buggy-or-malicious-guest-d.patch",),
)
_SETTLE = 0.3
_TIMEOUT = 30.0


@dataclass
class Switches:
    """What applying and reverting one patch cost. `pauses_us` has one number for each stop; `waited` counts stops that
    found somebody inside, `busy` how often it was given up."""

    name: str
    functions: tuple[str, ...]
    switched: int = 0
    waited: int = 0
    busy: int = 0
    coroutines: int = 0
    pauses_us: list[float] = field(default_factory=list)


def main(words: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="bench/qemu_guest", description=__doc__)
    parser.add_argument("--rounds", type=int, default=20, help="each patch is applied and reverted so often (20)")
    parser.add_argument("--seconds", type=int, default=60, help="how long the guest is watched without patches (60)")
    parser.add_argument("--into", type=Path, default=RESULTS, metavar="DIR", help="where the raw numbers go")
    parser.add_argument("--page", type=Path, default=_PAGE, metavar="FILE", help="the page (docs/results/qemu.md)")
    args = parser.parse_args(words)
    start = Start.now("qemu_guest", [f"--rounds={args.rounds}", f"--seconds={args.seconds}"])
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        files = prepare(folder / "machine")
        made = make(NEW, [["--fix", str(_HERE / f"qemu/fixes/{n}.patch")] for n in WRITTEN], folder / "new")
        say("starting the guest")
        with started(files) as guest:
            new = measure(guest, read(made), args.rounds, args.seconds)
        real = make(
            OLD, [[w for n in names for w in ("--fix-from", f"qemu={FIXED}:{n}")] for names in REAL], folder / "old"
        )
        with entered(layer("bullseye", OLD), files) as inside:
            emulator = [*inside, "qemu-system-x86_64"]
            say("starting the guest of the older release")
            with started(files, emulator=emulator) as guest:
                old = measure(guest, read(real), args.rounds, args.seconds)
            trigger = triggered(files, emulator, read(real)[0])
    data = {
        "versions": {"new": NEW, "old": OLD, "fixed": FIXED},
        "made": {"new": without_places(made), "old": without_places(real)},
        "new": new,
        "old": old,
        "trigger": trigger,
    }
    record = start.finish(data)
    record.write(args.into)
    args.page.write_text(document(record))
    return 0


def say(what: str) -> None:
    print(what, file=sys.stderr, flush=True)


def make(version: str, fixes: Sequence[Sequence[str]], folder: Path) -> list[dict[str, Any]]:
    """`suture make` for each fix on its own; what it printed, with the seconds it took."""
    found = []
    for fix in fixes:
        say(f"suture make --source qemu={version} {' '.join(fix)}")
        words = ["make", "--source", f"qemu={version}", *fix, "--output", str(folder), "--json"]
        done = subprocess.run([sys.executable, "-m", "suture.cli", *words], capture_output=True, text=True, check=False)
        if done.returncode:
            raise SystemExit(f"{' '.join(words)}: status {done.returncode}\n{done.stderr[-2000:]}")
        names = [Path(word.rpartition(":")[2]).name for word in fix[1::2]]
        found.append({"fix": ", ".join(names), **json.loads(done.stdout)})
    return found


def read(made: Sequence[dict[str, Any]]) -> list[PatchFile]:
    return [read_patch(Path(p["path"])) for m in made for p in m["patches"]]


def without_places(made: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """What was made, the files by their names alone."""
    return [{**m, "patches": [{**p, "path": Path(p["path"]).name} for p in m["patches"]]} for m in made]


def measure(guest: Guest, patches: Sequence[PatchFile], rounds: int, seconds: int) -> dict[str, Any]:
    """The guest before, while and after patches come and go."""
    phases: dict[str, list[Beat]] = {}
    guest.wait_for_beats(3)
    with phase(guest, phases, "without patches"):
        guest.wait_for_beats(seconds)
    rows = [Switches(p.manifest.fixes[0].name, tuple(f.name for f in p.manifest.functions)) for p in patches]
    with phase(guest, phases, "patches come and go"):
        for n in range(rounds):
            say(f"round {n + 1} of {rounds}")
            for patch, row in zip(patches, rows, strict=True):
                switch(guest, patch, row, applies=True)
                time.sleep(_SETTLE)
                switch(guest, patch, row, applies=False)
                time.sleep(_SETTLE)
    for patch, row in zip(patches, rows, strict=True):
        switch(guest, patch, row, applies=True)
    with phase(guest, phases, "all patches in force"):
        guest.wait_for_beats(seconds)
    return {
        "phases": {name: [asdict(b) for b in beats] for name, beats in phases.items()},
        "switches": [asdict(r) for r in rows],
        "faults": guest.faults,
    }


@contextmanager
def phase(guest: Guest, phases: dict[str, list[Beat]], name: str) -> Iterator[None]:
    """The lines that the guest tells meanwhile, and one before, so that counts can be subtracted."""
    say(name)
    first = len(guest.beats) - 1
    yield
    guest.wait_for_beats(1)
    phases[name] = guest.beats[first:]


def switch(guest: Guest, patch: PatchFile, row: Switches, *, applies: bool) -> None:
    try:
        result = apply(guest.pid, patch, timeout=_TIMEOUT) if applies else revert(guest.pid, patch.id, timeout=_TIMEOUT)
    except SutureError as problem:
        say(f"{row.name}: {problem.what}")
        row.busy += 1
        return
    row.switched += 1
    row.waited += len(result.pauses_us) - 1
    row.coroutines = max(row.coroutines, result.suspended_stacks)
    row.pauses_us += [round(p, 1) for p in result.pauses_us]


def triggered(files: Path, emulator: Sequence[str], patch: PatchFile) -> dict[str, bool]:
    """CVE-2024-3447 before the patch, with it, and after it was taken out again; each time in a machine that runs
    on."""
    found = {}
    with controller(files, emulator) as machine:
        found["without"] = machine.takes_the_mode()
    with controller(files, emulator) as machine:
        apply(machine.pid, patch)
        found["with"] = machine.takes_the_mode()
    with controller(files, emulator) as machine:
        apply(machine.pid, patch)
        revert(machine.pid, patch.id)
        found["reverted"] = machine.takes_the_mode()
    return found


if __name__ == "__main__":
    sys.exit(main())
