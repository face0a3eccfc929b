"""What fuzzing starts from: one honest input or more of each kind, made here; and `seeds/`, inputs that once found a
fault."""

from __future__ import annotations

import subprocess
import tempfile
from functools import cache
from pathlib import Path

from suture.elf.file import ElfFile
from suture.elf.object_writer import NewSection, write_object
from suture.feed import index
from suture.kernel.manifest import SECTION
from suture.patch import statement
from suture.report.feed import OfferState
from tests.kernel.conftest import manifest as kernel_manifest
from tests.patch.test_file import SEALED, patch
from tests.patch.test_manifest import FULL
from tests.patch.test_record import RECORD
from tests.patch.test_statement import THEN, offer, said

HELD = offer("c", "z", state=OfferState.HOLD, reason="it fails", since=THEN["early"])
FOUND = Path(__file__).parent / "seeds"
_CODE = """
#include <stdio.h>
int counter;
__attribute__((noinline)) int answer(int x) { counter++; return x * 3 + 1; }
int second(int x) { printf("%d", x); return answer(x); }
"""
_MAPS = b"""55d0c0000000-55d0c0002000 r--p 00000000 fe:01 131 /usr/bin/some program
55d0c0002000-55d0c0006000 r-xp 00002000 fe:01 131 /usr/bin/some program
55d0c1000000-55d0c1021000 rw-p 00000000 00:00 0 [heap]
7f0000000000-7f0000021000 rw-p 00000000 00:00 0 
7f0000021000-7f0004000000 ---p 00000000 00:00 0 
7f0010000000-7f0010003000 r-xp 00000000 00:01 77 /memfd:suture:0123456789abcdef (deleted)
7f0010003000-7f0010004000 rw-p 00003000 00:01 77 /memfd:suture:0123456789abcdef (deleted)
7f0012000000-7f0012028000 r--p 00000000 fe:01 132 /usr/lib/a\\012b.so.6 (deleted)
7ffc00000000-7ffc00021000 rw-p 00000000 00:00 0 [stack]
7ffc000fe000-7ffc00100000 r-xp 00000000 00:00 0 [vdso]
"""


@cache
def _library() -> bytes:
    with tempfile.TemporaryDirectory() as folder:
        out = Path(folder) / "lib.so"
        argv = ["gcc", "-O2", "-shared", "-fPIC", "-Wl,--build-id", "-x", "c", "-", "-o", str(out)]
        subprocess.run(argv, input=_CODE.encode(), check=True)
        return out.read_bytes()


@cache
def seeds(name: str) -> tuple[bytes, ...]:
    """Inputs of a target."""
    made = {
        "patch": lambda: [patch()[:-SEALED]],
        "manifest": lambda: [FULL.to_json()],
        "kernel_patch": lambda: [write_object([NewSection(SECTION, 0, kernel_manifest().to_json())], [])],
        "elf": lambda: [_library(), patch()[:-SEALED]],
        "frames": lambda: [_frames()],
        "maps": lambda: [_MAPS],
        "record": lambda: [RECORD.encode()],
        "feed_statement": lambda: [statement.encode(said(offer("a", "x"), offer("b", "x", "y"), HELD))],
        "feed_index": lambda: [index.pack([index.fingerprint(str(n)) for n in range(100)])],
    }[name]()
    return (*made, *found(name))


def found(name: str) -> tuple[bytes, ...]:
    """Inputs that once found a fault."""
    return tuple(p.read_bytes() for p in sorted((FOUND / name).glob("*")))


def _frames() -> bytes:
    file = ElfFile(_library())
    section = file.section(".eh_frame")
    assert section is not None
    return file.bytes_of(section)
