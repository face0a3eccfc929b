"""Which of the installed libraries have code that can leave a stack. `bench/switching` calls it.

Each library is mapped by a program of its own as the loader would, and none of its code runs. What counts is what
`suture apply` asks of a process (src/suture/process/stack/switching.py); the C library, the loader and libgcc are known
and left out, and so are links and what is no shared library.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path

from suture.elf.abi import ELFMAG
from suture.process.memory.maps import read_maps
from suture.process.stack.switching import may_switch_stacks

_KNOWN = ("libc.so.6", "ld-linux-x86-64.so.2", "libgcc_s.so.1")
_PLACES = ("/usr/lib/x86_64-linux-gnu", "/usr/lib", "/lib/x86_64-linux-gnu")
_MAPPER = r"""
#define _GNU_SOURCE
#include <elf.h>
#include <fcntl.h>
#include <stdio.h>
#include <sys/mman.h>
#include <unistd.h>
static Elf64_Ehdr h;
static Elf64_Phdr p[64];
static int protection(int flags) {
  return (flags & PF_R ? PROT_READ : 0) | (flags & PF_W ? PROT_WRITE : 0) | (flags & PF_X ? PROT_EXEC : 0);
}
int main(int argc, char **argv) {
  int fd = open(argv[1], O_RDONLY);
  if (pread(fd, &h, sizeof h, 0) != sizeof h) return 1;
  if (h.e_type != ET_DYN || h.e_machine != EM_X86_64 || h.e_phnum > 64) return 1;
  if (pread(fd, p, h.e_phnum * sizeof *p, h.e_phoff) != (long)(h.e_phnum * sizeof *p)) return 1;
  unsigned long end = 0;
  for (int n = 0; n < h.e_phnum; n++)
    if (p[n].p_type == PT_LOAD) end = p[n].p_vaddr + p[n].p_memsz;
  char *base = mmap(0, end + 4096, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  for (int n = 0; n < h.e_phnum; n++) {
    unsigned long skip = p[n].p_vaddr & 4095, size = p[n].p_filesz + skip;
    if (p[n].p_type != PT_LOAD || !p[n].p_filesz) continue;
    char *at = base + p[n].p_vaddr - skip;
    int prot = protection(p[n].p_flags), how = MAP_PRIVATE | MAP_FIXED;
    if (mmap(at, size, prot, how, fd, p[n].p_offset - skip) == MAP_FAILED) return 1;
  }
  puts("mapped");
  fflush(stdout);
  pause();
}
"""


def libraries(places: Sequence[Path]) -> Iterator[Path]:
    """Shared libraries in folders, each once; links lead to one that is there too."""
    seen: set[tuple[int, int]] = set()
    for path in (p for place in places for p in sorted(place.glob("*.so*"))):
        if path.is_symlink() or not path.is_file() or path.name in _KNOWN:
            continue
        facts = path.stat()
        with path.open("rb") as file:
            is_elf = file.read(4) == ELFMAG
        if is_elf and (facts.st_dev, facts.st_ino) not in seen:
            seen.add((facts.st_dev, facts.st_ino))
            yield path


def switches(mapper: Path, library: Path) -> bool | None:
    """Whether a process with this library may have suspended stacks; None for what cannot be mapped."""
    with subprocess.Popen([mapper, library], stdout=subprocess.PIPE) as process:
        try:
            assert process.stdout is not None
            if process.stdout.readline() != b"mapped\n":
                return None
            return may_switch_stacks(process.pid, read_maps(process.pid))
        finally:
            process.kill()


def compiled(folder: Path) -> Path:
    """The program that maps a library."""
    (folder / "mapper.c").write_text(_MAPPER)
    subprocess.run(["gcc", "-O2", "-w", "-o", folder / "mapper", folder / "mapper.c"], check=True)
    return folder / "mapper"


def main(words: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="bench/switching", description=(__doc__ or "").splitlines()[0])
    parser.add_argument("folder", type=Path, nargs="*", default=[Path(p) for p in _PLACES], help="where libraries are")
    args = parser.parse_args(words)
    with tempfile.TemporaryDirectory() as name:
        mapper = compiled(Path(name))
        found = {path: switches(mapper, path) for path in libraries(args.folder)}
    counted = [p for p, answer in found.items() if answer is not None]
    able = [p for p in counted if found[p]]
    for path in able:
        print(path)
    print(f"{len(counted) - len(able)} of {len(counted)} libraries cannot leave a stack")
    return 0


if __name__ == "__main__":
    sys.exit(main())
