"""The process that a fix is tried on: a trigger on the files of the shipped packages, asked line by line.

The host's own copies of the libraries play no part. For the C library the trigger runs under the shipped dynamic
loader.
"""

from __future__ import annotations

import os
import select
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType

import capstone
from fix import TRIGGERS, Package

from suture.command import run
from suture.source.archive import archive_for

_LIBRARY_FOLDERS = ("usr/lib/x86_64-linux-gnu", "lib/x86_64-linux-gnu")
_HEADER_FOLDERS = ("usr/include", "usr/include/x86_64-linux-gnu", "usr/include/libxml2")
_ANSWER_SECONDS = 60.0


class NoAnswer(Exception):
    """The process ended, or said nothing for a minute, where it should have answered."""


@dataclass(frozen=True)
class Files:
    """Folders of one version of a package's libraries, and what the compiler needs."""

    package: Package
    libraries: tuple[Path, ...]
    headers: tuple[Path, ...]

    @property
    def shipped(self) -> Path:
        """The folder of the package's own libraries."""
        return self.libraries[0]


def fetch(package: Package, version: str) -> Files:
    """The files of `version`; headers are those of the shipped version, other libraries as the release has them now."""
    archive = archive_for(package.source, package.version)
    roots = [archive.binary(name, version) for name in package.binaries]
    others = [archive.binary(name, archive.binaries(name)[0].version) for name in package.libraries]
    headers = [archive.binary(name, package.version) for name in package.headers]
    libraries = [root / folder for root in (*roots, *others) for folder in _LIBRARY_FOLDERS]
    if package.loader:
        libraries.sort(key=lambda folder: not (folder / "ld-linux-x86-64.so.2").exists())
    includes = [root / folder for root in (*headers, *others) for folder in _HEADER_FOLDERS]
    return Files(
        package,
        tuple(folder for folder in libraries if folder.is_dir()),
        tuple(folder for folder in includes if folder.is_dir()),
    )


def compile_trigger(program: str, files: Files, output: Path) -> Path:
    """The trigger, linked against the shipped libraries. Raises `CommandFailed`."""
    run(
        [
            "gcc",
            "-std=gnu11",
            "-D_GNU_SOURCE",
            "-O1",
            "-Wall",
            "-Werror",
            "-Wno-deprecated-declarations",
            *(f"-I{folder}" for folder in files.headers),
            "-o",
            str(output / program),
            str(TRIGGERS / f"{program}.c"),
            *(f"-L{folder}" for folder in files.libraries),
            "-Wl,--no-as-needed",
            *(f"-l:{name}" for name in files.package.link),
            "-Wl,--allow-shlib-undefined",
        ]
    )
    return output / program


class Subject:
    """A running trigger. `ask` returns the outcome of its hole; the process is the same until the context ends."""

    def __init__(self, program: Path, files: Files) -> None:
        path = ":".join(str(folder) for folder in files.libraries)
        environment = {"PATH": "/usr/bin:/bin", "LC_ALL": "C"}
        if files.package.loader:
            gconv = next(f / "gconv" for f in files.libraries if (f / "gconv").is_dir())
            environment["GCONV_PATH"] = str(gconv)
            command = [str(files.shipped / "ld-linux-x86-64.so.2"), "--library-path", path, str(program)]
        else:
            environment["LD_LIBRARY_PATH"] = path
            command = [str(program)]
        self._process = subprocess.Popen(command, env=environment, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
        self._rest = b""
        self._held: str | None = None

    @property
    def pid(self) -> int:
        """The process that is asked, and patched."""
        return self._process.pid

    def __enter__(self) -> Subject:
        try:
            if self._line() != "ready":
                raise NoAnswer("the trigger did not start")
        except BaseException:
            self.__exit__(None, None, None)
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._process.kill()
        self._process.communicate()

    def ask(self) -> str:
        """The outcome of the hole now. Raises `NoAnswer` if the process is gone or another one answers."""
        self._send(b"\n")
        return self._line()

    def hold(self) -> int | None:
        """Ask the hole, and hold the fork that enters it once it is through: its pid, None when it ended inside. It is
        let go by `ask_held`."""
        self._send(b"h\n")
        answer = self._line()
        word, _, pid = answer.partition(" ")
        if word == "held":
            return int(pid)
        self._held = answer
        return None

    def ask_held(self) -> str:
        """The outcome of what was held."""
        if self._held is not None:
            answer, self._held = self._held, None
            return answer
        return self.ask()

    def _send(self, line: bytes) -> None:
        assert self._process.stdin is not None
        try:
            self._process.stdin.write(line)
            self._process.stdin.flush()
        except BrokenPipeError as problem:
            raise NoAnswer("the process ended") from problem

    def _line(self) -> str:
        assert self._process.stdout is not None
        while b"\n" not in self._rest:
            ready, _, _ = select.select([self._process.stdout], [], [], _ANSWER_SECONDS)
            more = os.read(self._process.stdout.fileno(), 65536) if ready else b""
            if not more:
                raise NoAnswer("the process ended" if ready else f"no answer in {_ANSWER_SECONDS:.0f} s")
            self._rest += more
        line, _, self._rest = self._rest.partition(b"\n")
        pid, _, outcome = line.decode(errors="backslashreplace").partition(" ")
        if pid != str(self.pid):
            raise NoAnswer(f"another process answered: {pid}")
        return outcome.strip()


@dataclass(frozen=True)
class Mapping:
    """A line of /proc/PID/maps (proc_pid_maps(5))."""

    start: int
    end: int
    name: str


def mappings(pid: int) -> Iterator[Mapping]:
    """The mappings of a process, lowest first."""
    for line in Path(f"/proc/{pid}/maps").read_text().splitlines():
        fields = line.split(None, 5)
        start, _, end = fields[0].partition("-")
        yield Mapping(int(start, 16), int(end, 16), fields[5] if len(fields) == 6 else "")


@contextmanager
def memory(pid: int) -> Iterator[int]:
    """/proc/PID/mem, open for reading."""
    handle = os.open(f"/proc/{pid}/mem", os.O_RDONLY)
    try:
        yield handle
    finally:
        os.close(handle)


def code_at(pid: int, library: str, address: int, size: int) -> bytes:
    """Bytes of a loaded library at a link-time address. The archive's shared libraries are linked at zero."""
    base = min(m.start for m in mappings(pid) if Path(m.name).name == Path(library).resolve().name)
    with memory(pid) as handle:
        return os.pread(handle, size, base + address)


def jumps_into(pid: int, library: str, address: int, patch_id: str) -> bool:
    """Whether the instruction at a link-time address is a jump into the mapping of a patch, as capstone reads it."""
    base = min(m.start for m in mappings(pid) if Path(m.name).name == Path(library).resolve().name)
    code = code_at(pid, library, address, 16)
    decoder = capstone.Cs(capstone.CS_ARCH_X86, capstone.CS_MODE_64)
    for instruction in decoder.disasm(code, base + address, 1):
        if instruction.mnemonic != "jmp" or not instruction.op_str.startswith("0x"):
            return False
        target = int(instruction.op_str, 16)
        return any(m.start <= target < m.end and f"suture:{patch_id}" in m.name for m in mappings(pid))
    return False
