"""The virtual machine that is measured: the archive's kernel, one program as its init, two disks and two network cards.

What it needs is made in a folder: kernel and modules out of the archive's package, an initial file system with
`guest.c`, disks with known contents. Emulated (TCG), because that needs nothing of the host.
"""

from __future__ import annotations

import os
import re
import shutil
import struct
import subprocess
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from suture.command import run
from suture.source import cache
from suture.source.archive import Archive

HERE = Path(__file__).resolve().parent
# in the order in which they load; after that each module's own needs, as depmod finds them
_MODULES = ("virtio_pci", "virtio_blk", "e1000e", "virtio_net", "sym53c8xx", "sd_mod")
_DISK_BYTES = 16 << 20
_BOOT_SECONDS = 180.0
_MARK = (1 << 64) - 1
_DEVICES = (
    "-device e1000e,netdev=n0 -netdev user,id=n0,net=10.0.2.0/24",
    "-device virtio-net-pci,netdev=n1 -netdev user,id=n1,net=10.0.3.0/24",
    "-device lsi53c895a -drive file={folder}/sda.qcow2,if=none,id=d0,cache=none -device scsi-hd,drive=d0",
    "-drive file={folder}/vda.qcow2,if=none,id=d1,cache=none -device virtio-blk-pci,drive=d1",
)


class NotRunning(Exception):
    """The guest did not come up, or has stopped telling."""


@dataclass(frozen=True)
class Beat:
    """One line of the guest, received at `at` (our monotonic clock, seconds). Gaps in microseconds of the guest's
    clock."""

    at: float
    gap_us: int
    beats: int
    reads: int
    bad: int
    writes: int
    sent: tuple[int, ...]
    answered: tuple[int, ...]
    ping_us: tuple[int, ...]


_LINE = re.compile(r"beat (\d+) (\d+) disk (\d+) (\d+) (\d+)((?: ping \w+ \d+ \d+ \d+)+)")


def parse(line: str, at: float) -> Beat | None:
    """A line that the guest tells each second; None for any other."""
    found = _LINE.search(line)
    if not found:
        return None
    cards = [tuple(int(x) for x in c.split()[1:]) for c in found[6].split(" ping ")[1:]]
    sent, answered, took = zip(*cards, strict=True)
    gap, beats, reads, bad, writes = (int(found[n]) for n in range(1, 6))
    return Beat(at, gap, beats, reads, bad, writes, sent, answered, took)


def kernel(release: str) -> Path:
    """The folder of the archive's kernel package, with the dependencies of its modules worked out."""
    archive = Archive(release)
    name = run(["apt-cache", "depends", "linux-image-amd64"], env={"APT_CONFIG": str(archive.configuration)})
    found = re.search(r"linux-image-\d\S*-amd64", name)
    assert found, name
    package = found[0]
    root = archive.binary(package, archive.binaries(package)[0].version)

    def make(folder: Path) -> None:
        (folder / "lib").mkdir(parents=True)
        modules = next((root / "lib/modules").iterdir())
        shutil.copytree(modules, folder / "lib/modules" / modules.name)
        run(["depmod", "--basedir", str(folder), modules.name])
        shutil.copy(next((root / "boot").glob("vmlinuz-*")), folder / "vmlinuz")

    return cache.item(cache.root() / "guest" / package, make)


def modules(folder: Path) -> list[Path]:
    """The modules to load, each after what it needs."""
    tree = next((folder / "lib/modules").iterdir())
    needs = {}
    for line in (tree / "modules.dep").read_text().splitlines():
        path, _, rest = line.partition(":")
        needs[path] = rest.split()
    by_name = {Path(p).stem.replace("-", "_"): p for p in needs}
    wanted = [p for m in _MODULES for p in [*reversed(needs[by_name[m]]), by_name[m]]]
    return [tree / p for p in dict.fromkeys(wanted)]


def initial_file_system(folder: Path, kernel_folder: Path) -> Path:
    """An archive in the cpio format `newc` (Documentation/driver-api/early-userspace/buffer-format.rst)."""
    program = folder / "guest"
    run(["gcc", "-O2", "-static", "-pthread", "-o", str(program), str(HERE / "guest.c")])
    files = {"init": program, **{f"m/{p.name}": p for p in modules(kernel_folder)}}
    listing = "".join(f"/{name}\n" for name in files if name.startswith("m/")).encode()
    out = folder / "initrd"
    with out.open("wb") as file:
        for name in ("dev", "proc", "m"):
            file.write(_entry(name, 0o40755, b""))
        file.write(_entry("modules", 0o100644, listing))
        for name, path in files.items():
            file.write(_entry(name, 0o100755, path.read_bytes()))
        file.write(_entry("TRAILER!!!", 0, b""))
    return out


_inode = iter(range(1, 1 << 20))


def _entry(name: str, mode: int, data: bytes) -> bytes:
    fields = (next(_inode), mode, 0, 0, 1, 0, len(data), 0, 0, 0, 0, len(name) + 1, 0)
    head = b"070701" + b"".join(b"%08x" % f for f in fields) + name.encode() + b"\0"
    return head + bytes(-len(head) % 4) + data + bytes(-len(data) % 4)


def disk(folder: Path, name: str, seed: int) -> None:
    """A disk whose first half holds the words that `guest.c` expects (`word_at`)."""
    raw = folder / f"{name}.raw"
    words = [(n * 0x9E3779B97F4A7C15 & _MARK) ^ seed for n in range(1, _DISK_BYTES // 16 + 1)]
    raw.write_bytes(struct.pack(f"<{len(words)}Q", *words) + bytes(_DISK_BYTES // 2))
    run(["qemu-img", "convert", "-O", "qcow2", str(raw), str(folder / f"{name}.qcow2")])
    raw.unlink()


class Guest:
    """A running machine. `pid` is the emulator's; `beats` grows by one each second."""

    def __init__(self, process: subprocess.Popen[str]) -> None:
        self.process = process
        self.pid = process.pid
        self.beats: list[Beat] = []
        self.faults: list[str] = []
        self._up = threading.Event()
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    def _read(self) -> None:
        assert self.process.stdout is not None
        for line in self.process.stdout:
            if "fault " in line or "Oops" in line or "Call Trace" in line or "I/O error" in line:
                self.faults.append(line.strip())
            if line.strip() == "up":
                self._up.set()
            found = parse(line, time.monotonic())
            if found:
                self.beats.append(found)

    def wait_until_up(self, seconds: float = _BOOT_SECONDS) -> None:
        if not self._up.wait(seconds):
            raise NotRunning(f"the guest was not up after {seconds:.0f} s: {self.faults or 'it said nothing'}")

    def wait_for_beats(self, count: int, seconds: float = 60.0) -> list[Beat]:
        """The next `count` lines."""
        start = len(self.beats)
        deadline = time.monotonic() + seconds + count
        while len(self.beats) < start + count:
            if time.monotonic() > deadline or self.process.poll() is not None:
                raise NotRunning(f"the guest is silent: {self.faults or 'it said nothing'}")
            time.sleep(0.05)
        return self.beats[start : start + count]


@contextmanager
def started(
    folder: Path, more: Sequence[str] = (), emulator: Sequence[str] = ("qemu-system-x86_64",)
) -> Iterator[Guest]:
    """The machine whose files are in `folder`; it ends with the context."""
    argv = [
        *emulator,
        "-M",
        "q35",
        "-accel",
        "tcg",
        "-smp",
        "2",
        "-m",
        "256",
        "-nodefaults",
        "-no-reboot",
        "-display",
        "none",
    ]
    argv += ["-serial", "stdio", "-kernel", f"{folder}/vmlinuz", "-initrd", f"{folder}/initrd"]
    argv += ["-append", "console=ttyS0 quiet panic=-1 no_timer_check net.ifnames=0"]
    argv += [w for d in _DEVICES for w in d.format(folder=folder).split()] + list(more)
    process = subprocess.Popen(
        argv, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, errors="replace"
    )
    try:
        guest = Guest(process)
        guest.wait_until_up()
        yield guest
    finally:
        with suppress(ProcessLookupError):
            process.kill()
        process.wait()


def prepare(folder: Path, release: str = "bookworm") -> Path:
    """Everything that the machine is started from, in `folder`."""
    folder.mkdir(parents=True, exist_ok=True)
    place = kernel(release)
    initial_file_system(folder, place)
    for seed, name in enumerate(("sda", "vda")):
        disk(folder, name, seed)
    if not (folder / "vmlinuz").exists():
        os.link(place / "vmlinuz", folder / "vmlinuz")
    return folder
