"""Processes that lie about themselves: reading them must not crash, mislead or exhaust us."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from suture.error import ExitCode, SutureError
from suture.number import Vaddr
from suture.patch.file import PatchFile
from suture.patch.manifest import OldPart, Suspending, Verdict
from suture.process import allowance
from suture.process.change.apply import apply
from suture.process.change.revert import revert
from suture.process.memory.maps import Maps, read_maps
from suture.process.memory.placed import State, find_placed
from suture.process.see.find import find
from suture.process.see.scan import scan
from suture.process.see.status import status

LIAR = r"""
#define _GNU_SOURCE
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <unistd.h>
static void pretend(const char *name, const char *body, int size) {
  int fd = memfd_create(name, 0);
  write(fd, body, size); ftruncate(fd, 8192);
  char *p = mmap(0, 16384, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  mmap(p, 4096, PROT_READ | PROT_EXEC, MAP_PRIVATE | MAP_FIXED, fd, 0);
  mmap(p + 4096, 4096, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_FIXED, fd, 4096);
}
int main(int c, char **v) {
  char line[256]; prctl(PR_SET_NAME, "a) R 1\n\033[31m", 0, 0, 0);
  char rec[4096]; memset(rec, 0, sizeof rec);
  pretend("suture:0000000000000000", rec, 4096);
  memcpy(rec, "SUTUREREC\0\1\0\377\377\377\177", 16); pretend("suture:1111111111111111", rec, 4096);
  memcpy(rec + 12, "\20\0\0\0[[[[[[[[[[[[[[[[", 20); pretend("suture:2222222222222222", rec, 4096);
  pretend("suture:33333333333333334444", rec, 4096);
  /* a file whose start claims another's build-id: header, one PT_LOAD, one PT_NOTE */
  int lib = open(v[1], O_RDONLY); mkdir("/tmp/\n7f-80 rwxp 0", 0700);
  char *image = mmap(0, 16384, PROT_READ | PROT_EXEC, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  mmap(image, 4096, PROT_READ, MAP_PRIVATE | MAP_FIXED, lib, 0);
  mkdir(v[2], 0700); chdir(v[2]);
    int odd = open("odd\n00400000-00500000 r-xp 00000000 00:00 0 memfd:suture:5555555555555555 (deleted)",
    O_RDWR | O_CREAT, 0600);
  ftruncate(odd, 4096); mmap(0, 4096, PROT_READ | PROT_EXEC, MAP_PRIVATE, odd, 0);
  for (int i = 0; i < atoi(v[3]); i++) mmap(0, 4096, i & 1 ? PROT_READ : PROT_READ | PROT_WRITE, MAP_PRIVATE, odd, 0);
  puts("up"); fflush(stdout); pause();
}
"""


@pytest.fixture(params=[3000])
def liar(
    request: pytest.FixtureRequest, start: Callable[..., Any], gcc: Callable[..., Path], library: Path, tmp_path: Path
) -> Any:
    target = start(gcc(tmp_path / "liar", LIAR, "-w"), library, tmp_path / "odd", request.param)
    assert target.line() == "up"
    return target


def test_false_records_lead_to_nothing(liar: Any) -> None:
    began = time.monotonic()
    told = status(liar.pid)
    assert time.monotonic() - began < 5
    assert {p.state for p in told.patches} <= {State.DAMAGED, State.INTERRUPTED}
    assert not any(p.id.startswith(("33", "55")) for p in told.patches)
    assert all(c.isprintable() for c in told.command)
    for identity in ("0" * 16, "1" * 16, "2" * 16, "5" * 16):
        with pytest.raises(SutureError):
            revert(liar.pid, identity)


def test_a_fake_build_id_is_found_out_and_nothing_is_written(liar: Any, patch: PatchFile) -> None:
    before = Path(f"/proc/{liar.pid}/maps").read_text()
    assert liar.pid in find(patch.manifest.target.build_id)
    with pytest.raises(SutureError) as caught:
        apply(liar.pid, patch, timeout=0.5)
    assert caught.value.remedy
    assert Path(f"/proc/{liar.pid}/maps").read_text() == before
    assert liar.alive()


@pytest.mark.parametrize("liar", [30_000], indirect=True)
def test_absurd_maps_are_read_in_bounded_time_and_the_process_is_named(liar: Any, patch: PatchFile) -> None:
    began = time.monotonic()
    maps = read_maps(liar.pid)
    assert len(maps.mappings) > 10000
    placed, _ = find_placed(liar.pid, maps)
    assert not placed
    assert "memory maps" in next(u.why for u in scan([patch]).unread if u.pid == liar.pid)
    assert time.monotonic() - began < 10


def test_lines_that_are_no_mappings_are_left_out() -> None:
    maps = Maps(b"00400000-00401000 r-xp 00000000 00:01 5 /a b\\012c (deleted)\nnonsense\n-1-2 rwxp 0 0:0 0\n")
    assert [(m.start, m.path, m.is_deleted) for m in maps.mappings] == [(0x400000, "/a b\nc", True)]


def test_a_name_that_looks_like_an_escape_is_no_other_path() -> None:
    (row,) = Maps(b"00400000-00401000 r-xp 00000000 00:01 5 /tmp/c\\057..\\057usr\\012x (deleted)\n").mappings
    assert row.path == "/tmp/c\\057..\\057usr\nx"


CHAINS = r"""
#define _GNU_SOURCE
#include <link.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <unistd.h>
int answer(int);
/* the loader's list is 4000 objects; in each a chain of 65536 symbols seems to be the one that is looked for */
int main(void) {
  answer(1);
  unsigned h = 5381; for (const char *s = "getppid"; *s; s++) h = h * 33 + *s;
  struct r_debug *r = 0;
  for (Elf64_Dyn *q = _DYNAMIC; q->d_tag; q++) if (q->d_tag == DT_DEBUG) r = (void *)q->d_un.d_ptr;
  struct link_map *lib = r->r_map;
  while (lib && !strstr(lib->l_name, "libanswer")) lib = lib->l_next;
  char *b = mmap(0, 8 << 20, 3, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  unsigned *g = (void *)(b + 4096);
  g[0] = g[1] = g[2] = 1; ((unsigned long *)(g + 4))[0] = ~0ul; g[6] = 1;
  for (int i = 0; i < 70000; i++) g[7 + i] = h & ~1u;
  Elf64_Sym *t = (void *)(b + (1 << 20));
  for (int i = 0; i < 70000; i++) t[i] = (Elf64_Sym){.st_name = 16, .st_info = 0x12, .st_shndx = 1, .st_value = 1};
  strcpy(b + (4 << 20) + 16, "getppie"); strcpy(b + (4 << 20) + 5, "libx");
  Elf64_Dyn d[] = {{DT_STRTAB, {(long)b + (4 << 20)}}, {DT_SYMTAB, {(long)t}}, {DT_GNU_HASH, {(long)g}}, {DT_NEEDED,
      {5}}, {DT_NULL}};
  struct link_map *n = calloc(4002, sizeof *n);
  for (int i = 0; i < 4000; i++) n[i] = (struct link_map){.l_ld = memcpy(b + (5 << 20) + 4096 * (i == 3999),
      d, sizeof d), .l_next = n + i + 1};
  n[3999].l_ld[3].d_tag = DT_SONAME; /* the first needs the last, so that all between are in its scope */
  n[4000] = (struct link_map){.l_addr = lib->l_addr, .l_ld = lib->l_ld};
  r->r_map = n;
  puts("up"); fflush(stdout);
  for (;;) syscall(SYS_pause);
}
"""


def test_a_false_list_of_what_is_loaded_costs_a_moment(
    start: Callable[..., Any],
    gcc: Callable[..., Path],
    library: Path,
    make_patch: Callable[..., PatchFile],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(allowance, "BY_NAME_SECONDS", 0.5)
    new = "int getppid(void); int answer(int x) { return getppid(); }"
    patch = make_patch(tmp_path / "p", library, new, {"answer": ["answer"]})
    target = start(gcc(tmp_path / "chains", CHAINS, "-w", str(library), f"-Wl,-rpath,{library.parent}"))
    assert target.line() == "up"
    began = time.process_time()
    with pytest.raises(SutureError) as caught:
        apply(target.pid, patch, timeout=1)
    assert caught.value.exit_code is ExitCode.REFUSED and "honest process" in caught.value.what
    assert time.process_time() - began < 5


def with_group(patch: PatchFile, **more: Any) -> PatchFile:
    """The patch with another first group."""
    first, *rest = patch.manifest.groups
    return replace(patch, manifest=replace(patch.manifest, groups=(replace(first, **more), *rest)))


def with_manifest(patch: PatchFile, **more: Any) -> PatchFile:
    return replace(patch, manifest=replace(patch.manifest, **more))


UNREVERTIBLE: dict[str, Callable[[PatchFile], PatchFile]] = {
    "a part far away": lambda p: with_group(p, parts=(OldPart("p", Vaddr(1 << 60), 1),)),
    "a part larger than anything": lambda p: with_group(p, parts=(OldPart("p", Vaddr(0x2000), 1 << 40),)),
    "a part outside the image": lambda p: with_group(p, parts=(OldPart("p", Vaddr(1 << 30), 16),)),
    "a long name": lambda p: with_manifest(p, name="n" * 70_000),
    "a long note": lambda p: with_manifest(p, verdict=Verdict(True, ("n" * 70_000,))),
    "a record larger than any": lambda p: with_manifest(p, verdict=Verdict(True, ("n" * 15_000,) * 400)),
    "stacks that nothing stands on": lambda p: with_manifest(p, suspends=(Suspending("p", Vaddr(1 << 60), 1 << 40),)),
    "a function twice": lambda p: with_manifest(p, groups=p.manifest.groups * 2),
}


@pytest.mark.parametrize("name", UNREVERTIBLE)
def test_a_patch_that_could_not_be_reverted_is_not_applied(
    start: Callable[..., Any], program: Path, patch: PatchFile, name: str
) -> None:
    target = start(program)
    answer = target.ask("2")
    with pytest.raises(SutureError) as caught:
        apply(target.pid, UNREVERTIBLE[name](patch), timeout=2)
    assert caught.value.exit_code is ExitCode.BAD_PATCH
    assert "suture:" not in Path(f"/proc/{target.pid}/maps").read_text()
    assert target.ask("2") == answer
    apply(target.pid, patch)
    revert(target.pid, patch.id)
    assert target.ask("2") == answer
