"""The programs that are measured, compiled here, and live patches for their library made by the real builder.

No archive, no clean room: the library's source is compiled as it ships (stripped) and again with each fix, in the
variants that `suture make` compiles, and goes through the same matching and building.
"""

from __future__ import annotations

import hashlib
import mmap
import os
import signal
import struct
import subprocess
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from suture import __version__
from suture.command import run
from suture.compile.unit import Variant
from suture.delta.atom import AtomObject
from suture.delta.change import UnitChange
from suture.delta.compare import difference
from suture.delta.ledger import Account, Fate, FileAccount, Ledger
from suture.elf.file import ElfFile
from suture.error import SutureError
from suture.make.build import build
from suture.match.correlate import correlate
from suture.match.run import Run
from suture.number import BuildId
from suture.patch.file import SUFFIX, PatchFile, read_patch
from suture.patch.manifest import FixFact, Target

PROGRAMS = Path(__file__).resolve().parent / "programs"
_LIBRARY = "libwork.so.1"
_FLAGS = ("-O2", "-g", "-fPIC")
_START_SECONDS = 20.0


class NotMeasured(SutureError):
    """A benchmark could not be run as it should: its numbers would mean something else."""

    def __init__(self, what: str) -> None:
        super().__init__(what, "run it again; if it stays so, it is a defect")


@dataclass(frozen=True)
class Library:
    """The library as it ships, and where. Two of different names are two binaries of the same functions."""

    folder: Path
    name: str = _LIBRARY

    @classmethod
    def compile(cls, folder: Path, name: str = _LIBRARY) -> Library:
        out = folder / name
        soname = f"-Wl,-soname,{name}"
        run(["gcc", *_FLAGS, "-shared", "-Wl,--build-id", soname, "-o", str(out), "work.c"], cwd=PROGRAMS)
        run(["strip", str(out)])
        return cls(folder, name)

    @property
    def path(self) -> Path:
        return self.folder / self.name

    def program(self, name: str) -> Path:
        """A program of the folder `programs`, linked with the library."""
        out = self.folder / name
        link = ["-pthread", str(self.path), f"-Wl,-rpath,{self.folder}"]
        run(["gcc", "-O2", "-o", str(out), f"{name}.c", *link], cwd=PROGRAMS)
        return out

    def patch(self, version: int, *, supersedes: tuple[str, ...] = ()) -> Path:
        """The file of a live patch that makes the running version 1 behave as `version`."""
        plain, pre, compare_pre = (self._object(1, v) for v in (Variant.PLAIN, Variant.SECTIONS, Variant.COMPARE))
        post, compare_post = (self._object(version, v) for v in (Variant.SECTIONS, Variant.COMPARE))
        shipped = Run.read(self.path)
        delta = difference(AtomObject(ElfFile.read(compare_pre)), AtomObject(ElfFile.read(compare_post)))
        sectioned = ElfFile.read(pre)
        match = correlate("work.c", "work.o", ElfFile.read(plain), sectioned, shipped)
        change = UnitChange("work.c", "work.o", AtomObject(sectioned), AtomObject(ElfFile.read(post)), delta, match)
        target = Target(shipped.elf.build_id or BuildId(""), self.name, "work", "work", "1", "x86_64")
        digest = hashlib.sha256((PROGRAMS / "work.c").read_bytes()).hexdigest()
        ledger = Ledger((FileAccount("work.c", (Account(Fate.PATCHED),)),))
        fix = FixFact(f"version {version}", (), digest, ledger)
        compiler = run(["gcc", "--version"]).splitlines()[0]
        toolchain = {"compiler": compiler, "suture": __version__}
        built = build(f"work-version-{version}", target, [change], shipped, [fix], lambda name: None, toolchain, {})
        if built.data is None or built.refused:
            raise NotMeasured(f"version {version} of work.c became no whole patch: {[r.reason for r in built.refused]}")
        out = self.folder / f"{self.name}-{version}{SUFFIX}"
        out.write_bytes(built.data)
        return out

    def _object(self, version: int, variant: Variant) -> Path:
        out = self.folder / f"work-{version}-{variant.name.lower()}.o"
        run(["gcc", *_FLAGS, *variant.value, f"-DVERSION={version}", "-c", "-o", str(out), "work.c"], cwd=PROGRAMS)
        return out


def read_patches(paths: Sequence[Path]) -> list[PatchFile]:
    return [read_patch(path) for path in paths]


class Shared:
    """Memory that a target and we see: a memfd, read and written as 64-bit words."""

    def __init__(self, size: int) -> None:
        self.fd = os.memfd_create("measured")
        os.ftruncate(self.fd, size)
        self._map = mmap.mmap(self.fd, size)

    def word(self, index: int) -> int:
        value: int = struct.unpack_from("<Q", self._map, 8 * index)[0]
        return value

    def words(self, index: int, count: int) -> tuple[int, ...]:
        return struct.unpack_from(f"<{count}Q", self._map, 8 * index)

    def set_word(self, index: int, value: int) -> None:
        struct.pack_into("<Q", self._map, 8 * index, value)

    def close(self) -> None:
        self._map.close()
        os.close(self.fd)


@contextmanager
def started(
    argv: Sequence[object], *, shared: Shared | None = None, talks: bool = False
) -> Iterator[subprocess.Popen[str]]:
    """A program that ends with the context, or with the benchmark. `talks`: its standard input and output are pipes."""
    pipe = subprocess.PIPE if talks else subprocess.DEVNULL
    fds = (shared.fd,) if shared else ()
    # an interrupt may come before the context is entered: then the kernel ends the program
    command = ["setpriv", "--pdeathsig", "KILL", *(str(a) for a in argv)]
    process = subprocess.Popen(command, stdin=pipe, stdout=pipe, text=True, pass_fds=fds)
    try:
        yield process
    finally:
        if process.poll() is None:
            process.send_signal(signal.SIGKILL)
        process.wait()
        for stream in (process.stdin, process.stdout):
            if stream is not None:
                stream.close()


def ask(process: subprocess.Popen[str], line: str) -> str:
    """Write a line, read a line. Raises NotMeasured when the program has ended."""
    assert process.stdin is not None and process.stdout is not None
    try:
        process.stdin.write(line + "\n")
        process.stdin.flush()
    except BrokenPipeError:
        raise NotMeasured(f"{process.args!r} ended") from None
    answer = process.stdout.readline()
    if not answer:
        raise NotMeasured(f"{process.args!r} ended")
    return answer


def wait_until_ready(process: subprocess.Popen[str], shared: Shared, index: int, value: int) -> None:
    """Until the word at `index` is `value`."""
    deadline = time.monotonic() + _START_SECONDS
    while shared.word(index) != value:
        if process.poll() is not None or time.monotonic() > deadline:
            raise NotMeasured(f"{process.args!r} did not start: status {process.poll()}")
        time.sleep(0.01)
