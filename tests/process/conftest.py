"""C targets and live patches, built in the test: old code compiled into a program or library, new code into a patch
object."""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import secrets
import signal
import subprocess
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from suture.delta.ledger import Account, Fate, FileAccount, Ledger
from suture.elf.abi import SectionFlag, SymbolType
from suture.elf.file import ElfFile
from suture.elf.object_writer import NewRelocation, NewSection, NewSymbol, write_object
from suture.make.entry import plan_entry
from suture.match.proof import MatchedUnit, Proof
from suture.number import BuildId, SectionOffset, Vaddr
from suture.patch.consistency import Consistency
from suture.patch.file import PatchFile, parse_patch
from suture.patch.manifest import (
    FixFact,
    Group,
    ImportedSymbol,
    Manifest,
    ReplacedFunction,
    Suspending,
    SymbolKind,
    Target,
)
from suture.patch.seal import seal
from suture.refusal import Refusal

_RUN = secrets.token_hex(8)


def gcc(out: Path, source: str, *flags: str) -> Path:
    """Compile C text to `out`. The same text has the same build-id in this run, and another one in every other run,
    whose patches and looks at all processes are not to find its processes."""
    path = out.with_suffix(out.suffix + ".c")
    path.write_text(source)
    build_id = hashlib.sha1(repr((_RUN, source, flags)).encode()).hexdigest()
    subprocess.run(["gcc", "-O2", "-g0", f"-Wl,--build-id=0x{build_id}", "-o", str(out), str(path), *flags], check=True)
    return out


def make_patch(
    folder: Path,
    target: Path,
    source: str,
    groups: dict[str, list[str]],
    *,
    name: str = "test",
    supersedes: tuple[str, ...] = (),
    imports: tuple[str, ...] = (),
    suspends: tuple[str, ...] = (),
    relaxed: str = "",
    endless: tuple[str, ...] = (),
    code: bool = False,
    cve: str = "CVE-2099-0001",
) -> PatchFile:
    """A patch of `target` whose new functions are the C functions of the same names in `source`."""
    folder.mkdir(parents=True, exist_ok=True)
    elf = ElfFile.read(target)
    known = {s.name: s for s in elf.symbols if s.has_section}
    new = folder / f"{name}.code.o"
    (folder / f"{name}.c").write_text(source)
    subprocess.run(
        ["gcc", "-O2", "-g0", "-fPIC", "-ffreestanding", "-c", "-o", str(new), str(folder / f"{name}.c")], check=True
    )
    symbols: dict[str, ImportedSymbol] = {}
    thunks, relocations, defined = bytearray(), [], []
    rows: dict[str, ReplacedFunction] = {}
    for function in (f for fs in groups.values() for f in fs):
        old = known[function]
        body = elf.read_at(Vaddr(old.st_value), old.st_size)
        entry = plan_entry(body, Vaddr(old.st_value))
        assert not isinstance(entry, Refusal), entry
        start = len(thunks)
        relocations += [
            NewRelocation(SectionOffset(start + r.r_offset), r.r_type, r.symbol, r.r_addend) for r in entry.relocations
        ]
        symbols |= {n: ImportedSymbol(SymbolKind.IMAGE, a) for n, a in entry.symbols.items()}
        thunks += entry.thunk
        defined.append(
            NewSymbol(f"{function}.orig", ".text.orig", SectionOffset(start), len(entry.thunk), SymbolType.FUNC)
        )
        thunks += b"\xcc" * (-len(thunks) % 16)
        rows[function] = ReplacedFunction(
            function, Vaddr(old.st_value), old.st_size, hashlib.sha256(body).hexdigest(), entry.entry, entry.displaced,
            function, f"{function}.orig", Consistency.RELAXED if relaxed else Consistency.STRICT, function in endless,
            body.hex() if code else "",
        )  # fmt: skip
    section = NewSection(
        ".text.orig", SectionFlag.ALLOC | SectionFlag.EXECINSTR, bytes(thunks), 16, relocations=relocations
    )
    orig = folder / f"{name}.orig.o"
    orig.write_bytes(write_object([section], [*defined, *(NewSymbol(s, None) for s in symbols)]))
    both = folder / f"{name}.both.o"
    subprocess.run(["ld", "-r", "-o", str(both), str(new), str(orig)], check=True)
    for symbol in ElfFile.read(both).symbols:
        if symbol.name and not symbol.is_defined and symbol.name not in symbols:
            if symbol.name in known and symbol.name not in imports:
                symbols[symbol.name] = ImportedSymbol(SymbolKind.IMAGE, Vaddr(known[symbol.name].st_value))
            else:
                symbols[symbol.name] = ImportedSymbol(SymbolKind.IMPORT, name=symbol.name)
    manifest = Manifest(
        name,
        Target(elf.build_id or BuildId(""), target.name, "test", "test", "1", "x86_64"),
        (FixFact(f"{name}.patch", (cve,), "00", WHOLE),),
        tuple(Group(g, tuple(rows[f] for f in fs)) for g, fs in groups.items()),
        symbols,
        supersedes,
        proof=Proof((MatchedUnit(f"{name}.c", f"{name}.o", True, (), ()),)),
        suspends=tuple(Suspending(n, Vaddr(known[n].st_value), known[n].st_size) for n in suspends),
        relaxed=relaxed,
    )
    text = folder / f"{name}.json"
    text.write_bytes(manifest.to_json())
    json.loads(text.read_bytes())
    out = folder / f"{name}.suture.o"
    subprocess.run(
        ["objcopy", "--add-section", f".suture.manifest={text}", "--remove-section", ".note.GNU-stack",
         "--remove-section", ".comment", str(both), str(out)],
        check=True,
    )  # fmt: skip
    out.write_bytes(seal(out.read_bytes()))
    return parse_patch(out.read_bytes(), str(out))


@dataclass
class Running:
    """A C target with its output read line by line."""

    process: subprocess.Popen[bytes]

    @property
    def pid(self) -> int:
        return self.process.pid

    def line(self) -> str:
        assert self.process.stdout is not None
        return self.process.stdout.readline().decode().strip()

    def ask(self, question: str = "") -> str:
        """Write a line, read a line."""
        assert self.process.stdin is not None
        self.process.stdin.write(question.encode() + b"\n")
        self.process.stdin.flush()
        return self.line()

    def alive(self) -> bool:
        return self.process.poll() is None


Start = Callable[..., Running]


@pytest.fixture
def start() -> Iterator[Start]:
    """Start programs that end with the test."""
    running: list[subprocess.Popen[bytes]] = []

    def run(*argv: object, env: dict[str, str] | None = None) -> Running:
        process = subprocess.Popen(
            [str(a) for a in argv],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            env={**os.environ, **env} if env else None,
            start_new_session=True,
        )
        running.append(process)
        eventually(lambda: process.poll() is not None or is_loaded(process.pid))
        return Running(process)

    yield run
    for process in running:
        try:
            os.killpg(process.pid, signal.SIGKILL)
        except ProcessLookupError:
            process.kill()
        process.wait()
        for pipe in (process.stdin, process.stdout):
            if pipe is not None:
                with contextlib.suppress(BrokenPipeError):
                    pipe.close()


def is_loaded(pid: int) -> bool:
    """Popen returns in the middle of execve. A main thread that has ended has no maps any more."""
    folder = Path(f"/proc/{pid}")
    return b"[vdso]" in (folder / "maps").read_bytes() or b") Z " in (folder / "stat").read_bytes()


def eventually(check: Callable[[], bool], seconds: float = 20.0) -> None:
    """Wait until something holds."""
    deadline = time.monotonic() + seconds
    while not check():
        assert time.monotonic() < deadline, "it did not come to hold"
        time.sleep(0.01)


WHOLE = Ledger((FileAccount("v.c", (Account(Fate.PATCHED),)),))
LIBRARY = """
#include <stdio.h>
int counter = 0;
__attribute__((noinline)) int answer(int x) { counter++; return x * 3 + 1; }
__attribute__((noinline)) int second(int x) { return answer(x) + 100; }
__attribute__((noinline)) int third(int x) { if (x < 0) { puts("negative"); return -1; } return x + 7; }
"""
NEW = """
extern int counter;
static int calls;
int answer(int x) { counter += 10; calls++; return x * 5 + calls * 0; }
"""
PROGRAM = """
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>
int answer(int), second(int), third(int);
extern int counter;
int main(void) {
  char line[64];
  setvbuf(stdout, 0, _IOLBF, 0);
  while (fgets(line, sizeof line, stdin)) {
    int x = atoi(line);
    printf("%d %d %d\\n", answer(x), second(x), third(x));
  }
}
"""


@pytest.fixture(scope="session")
def library(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return gcc(tmp_path_factory.mktemp("lib") / "libanswer.so", LIBRARY, "-fPIC", "-shared")


@pytest.fixture(scope="session")
def program(library: Path) -> Path:
    return gcc(library.parent / "asks", PROGRAM, str(library), f"-Wl,-rpath,{library.parent}")


@pytest.fixture(scope="session")
def patch(library: Path) -> PatchFile:
    return make_patch(library.parent / "p1", library, NEW, {"answer": ["answer"]}, name="answer")


@pytest.fixture(scope="session", name="gcc")
def gcc_fixture() -> Callable[..., Path]:
    return gcc


@pytest.fixture(scope="session", name="make_patch")
def make_patch_fixture() -> Callable[..., PatchFile]:
    return make_patch


@pytest.fixture(scope="session", name="eventually")
def eventually_fixture() -> Callable[..., None]:
    return eventually
