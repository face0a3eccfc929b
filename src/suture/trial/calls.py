"""How often a process calls the functions that a patch replaces, counted by the kernel (uprobes) while it runs. It
is not stopped for that."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path

from suture.elf.file import ElfFile
from suture.patch.manifest import Manifest
from suture.process import syscall

_KIND = Path("/sys/bus/event_source/devices/uprobe/type")


@contextmanager
def counted(pid: int, binary: Path, manifest: Manifest) -> Iterator[Mapping[str, Callable[[], int]]]:
    """For each replaced function what tells the calls so far, as long as the context lasts; of a kernel without uprobes
    nothing. `binary` is the file that the process has mapped."""
    elf = ElfFile.read(binary)
    found: dict[str, Callable[[], int]] = {}
    with ExitStack() as held:
        for function in (f for g in manifest.groups for f in g.functions):
            at = elf.offset_of(function.address)
            with suppress(OSError):
                if at is not None:
                    fd = syscall.perf_calls(int(_KIND.read_text()), pid, os.fsencode(binary), at)
                    held.callback(os.close, fd)
                    found[function.name] = _reader(fd)
        yield found


def _reader(fd: int) -> Callable[[], int]:
    return lambda: int.from_bytes(os.read(fd, 8), "little")
