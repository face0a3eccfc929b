"""Where processes stand: each copy of a binary by itself, proved against the patch files, in memory and on disk."""

from __future__ import annotations

import fcntl
import os
import shutil
import signal
import struct
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from suture.delta.ledger import Account, Fate, FileAccount, Ledger, Lines
from suture.error import ExitCode, Refused
from suture.patch.file import PatchFile
from suture.patch.manifest import RefusedFunction, Verdict
from suture.process import syscall
from suture.process.change.apply import apply
from suture.process.change.revert import revert
from suture.process.error import WrongTarget
from suture.process.everywhere import apply_everywhere
from suture.process.memory.image import images
from suture.process.memory.maps import read_maps
from suture.process.memory.placed import State, find_placed
from suture.process.see import disk
from suture.process.see.comparison import doubt
from suture.process.see.disk import Files
from suture.process.see.find import every_process, find
from suture.process.see.scan import scan
from suture.process.see.status import status, status_of_all
from suture.report.row import Row
from suture.report.standing import Disk, Memory
from tests.command import suture

Start = Callable[..., Any]
Compile = Callable[..., Path]
Make = Callable[..., PatchFile]
Eventually = Callable[..., None]

LOADS_AGAIN = r"""
#define _GNU_SOURCE
#include <dlfcn.h>
#include <stdio.h>
#include <string.h>
int answer(int);
int main(int c, char **v) {
  char line[64]; int (*other)(int) = 0;
  setvbuf(stdout, 0, _IOLBF, 0);
  while (fgets(line, sizeof line, stdin)) {
    void *h = 0;
    if (!strcmp(line, "namespace\n")) h = dlmopen(LM_ID_NEWLM, v[1], RTLD_NOW);
    if (!strcmp(line, "path\n")) h = dlopen(v[2], RTLD_NOW | RTLD_LOCAL);
    if (h) other = dlsym(h, "answer");
    printf("%d %d\n", answer(2), other ? other(2) : 0);
  }
}
"""


def rows_of(pid: int, *patches: PatchFile) -> list[Row]:
    return [r for r in scan(patches).rows if r.pid == pid]


def in_memory(pid: int, *patches: PatchFile) -> list[Memory]:
    return sorted((r.standing.memory for r in rows_of(pid, *patches)), key=lambda m: m.value)


@pytest.fixture
def loads_again(start: Start, gcc: Compile, library: Path, tmp_path: Path) -> Any:
    program = gcc(tmp_path / "again", LOADS_AGAIN, str(library), f"-Wl,-rpath,{library.parent}")
    data = library.read_bytes()
    assert data.count(b"libanswer.so") <= 1
    other = tmp_path / "other.so"
    other.write_bytes(data)
    return start(program, library, other)


@pytest.mark.parametrize("how", ["namespace", "path"])
def test_a_second_copy_is_open_until_it_is_patched_and_each_copy_is_listed(
    loads_again: Any, patch: PatchFile, how: str
) -> None:
    pid = loads_again.pid
    apply(pid, patch)
    assert in_memory(pid, patch) == [Memory.FIXED]
    assert loads_again.ask(how) == "10 7"
    assert in_memory(pid, patch) == [Memory.FIXED, Memory.OPEN]
    assert len({r.address for r in rows_of(pid, patch)}) == 2
    assert all("of 2" in r.why for r in rows_of(pid, patch))
    (told,) = status(pid).patches
    assert told.state is State.APPLIED and told.why and "not in the copy at" in told.why.text
    result = apply(pid, patch)
    assert result.exit_code is ExitCode.OK and result.changed and len({g.copy for g in result.groups}) == 2
    assert loads_again.ask() == "10 10"
    assert in_memory(pid, patch) == [Memory.FIXED, Memory.FIXED]
    assert revert(pid, patch.id).exit_code is ExitCode.OK
    assert loads_again.ask() == "7 7"
    assert in_memory(pid, patch) == [Memory.OPEN, Memory.OPEN]


def test_new_code_in_another_namespace_calls_the_functions_of_that_namespace(
    start: Start, gcc: Compile, make_patch: Make, tmp_path: Path
) -> None:
    other = gcc(tmp_path / "libother.so", "int number = 5; int next(void) { return number++; }", "-fPIC", "-shared")
    source = "int next(void); int answer(int x) { return next() * 0 + x * 3 + 1; }"
    flags = ("-fPIC", "-shared", str(other), f"-Wl,-rpath,{tmp_path}")
    library = gcc(tmp_path / "libuses.so", source, *flags)
    new = "int next(void); int answer(int x) { return 100 * x + next(); }"
    patch = make_patch(tmp_path / "p", library, new, {"answer": ["answer"]})
    target = start(gcc(tmp_path / "again", LOADS_AGAIN, str(library), f"-Wl,-rpath,{tmp_path}"), library, library)
    assert target.ask() == "7 0" and target.ask("namespace") == "7 7"
    result = apply(target.pid, patch)
    assert result.exit_code is ExitCode.OK, [g.why for g in result.groups]
    assert in_memory(target.pid, patch) == [Memory.FIXED, Memory.FIXED]
    assert target.ask() == "207 206"  # each with its own count


def test_a_copy_that_cannot_be_patched_is_told_and_the_others_are(
    start: Start, gcc: Compile, make_patch: Make, tmp_path: Path
) -> None:
    source = (
        "#include <unistd.h>\n__attribute__((noinline)) int answer(int x) { if (x > 8) sleep(100); return x * 3 + 1; }"
    )
    library = gcc(tmp_path / "libslow.so", source, "-fPIC", "-shared")
    patch = make_patch(tmp_path / "p", library, "int answer(int x) { return x * 5; }", {"answer": ["answer"]})
    main = LOADS_AGAIN.replace("#include <string.h>",
    "#include <string.h>\n#include <pthread.h>\nstatic int (*slow)(int);static void *work(void *a) { slow(9); "
        "return 0; }").replace('if (h) other = dlsym(h, "answer");',
        'if (h) { pthread_t t; slow = other = dlsym(h, "answer"); pthread_create(&t, 0, work, 0); }')  # fmt: skip
    program = gcc(tmp_path / "again", main, str(library), f"-Wl,-rpath,{tmp_path}", "-pthread")
    target = start(program, library, library)
    assert target.ask("namespace") == "7 7"
    time.sleep(0.2)
    result = apply(target.pid, patch, timeout=0.3)
    assert result.exit_code is ExitCode.PARTIAL
    (missing,) = [g for g in result.groups if g.state is not State.APPLIED]
    assert missing.copy and "answer" in missing.why
    assert target.ask() == "10 7"


ZOMBIE = r"""
#include <pthread.h>
#include <stdio.h>
#include <unistd.h>
int answer(int);
static void *work(void *a) {
  char line[64]; setvbuf(stdout, 0, _IOLBF, 0);
  while (fgets(line, sizeof line, stdin)) printf("%d\n", answer(2));
  _exit(0);
}
int main(void) { pthread_t t; pthread_create(&t, 0, work, 0); pthread_exit(0); }
"""


def test_a_process_whose_first_thread_has_ended_is_seen_by_all(
    start: Start, gcc: Compile, library: Path, patch: PatchFile, tmp_path: Path, eventually: Eventually
) -> None:
    target = start(gcc(tmp_path / "zombie", ZOMBIE, str(library), f"-Wl,-rpath,{library.parent}", "-pthread"))
    eventually(lambda: ") Z " in Path(f"/proc/{target.pid}/stat").read_text())
    assert target.ask() == "7"
    assert target.pid in find(patch.manifest.target.build_id)
    assert target.pid in {o.pid for o in apply_everywhere(patch).outcomes}
    assert target.ask() == "10"
    (row,) = rows_of(target.pid, patch)
    assert row.standing.memory is Memory.FIXED and row.standing.disk is Disk.OPEN
    assert target.pid in {p.pid for p in status_of_all()[0]}
    done = suture("revert", patch.id)
    assert done.returncode in (ExitCode.OK, ExitCode.PARTIAL) and target.ask() == "7", done.stderr
    done = suture("revert", "0123456789abcdef")
    assert done.returncode == ExitCode.NO_PROCESS and "no process carries the patch" in done.stdout


# a process that writes its own record: mode, patch id, build-id, digest and size of the old function
FORGER = r"""
#define _GNU_SOURCE
#include <dlfcn.h>
#include <link.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>
int answer(int);
int main(int c, char **v) {
  char *at = (char *)answer, group[2048], json[8192], name[64];
  struct link_map *map; Dl_info info;
  dladdr1(at, &info, (void **)&map, RTLD_DL_LINKMAP);
  uintptr_t base = (map->l_addr - (64 << 20)) & ~4095ul, code = base + 8192, data = base + 12288;
  char bytes[11]; for (int i = 0; i < 5; i++) sprintf(bytes + 2 * i, "%02x", (unsigned char)at[i]);
  sprintf(group, "{\"name\":\"answer\",\"switch\":\"%#018lx\",\"parts\":[],\"functions\":[{\"name\":\"answer\","
    "\"old\":\"%#018lx\",\"size\":%s,\"sha256\":\"%s\",\"entry\":0,\"displaced\":5,\"original\":\"%s\","
    "\"new\":\"%#018lx\",\"new_size\":18,\"orig\":\"%#018lx\",\"orig_size\":16,"
    "\"stub\":\"%#018lx\",\"consistency\":\"strict\",\"endless\":false}]}",
        data, (uintptr_t)at, v[5], v[4], bytes, code, code + 32, code + 64);
  if (!strcmp(v[1], "empty")) sprintf(group + strlen(group),
      ",{\"name\":\"e\",\"switch\":\"%#018lx\",\"parts\":[],\"functions\":[]}", data);
  int n = sprintf(json, "{\"id\":\"%s\",\"name\":\"answer\",\"build_id\":\"%s\",\"file\":\"libanswer.so\","
    "\"package\":\"\",\"version\":\"\",\"fixes\":[],\"notes\":[],\"base\":\"%#018lx\",\"text_size\":\"%#018x\","
    "\"data_size\":\"%#018x\",\"code\":\"%#018lx\",\"code_size\":\"%#018x\",\"bias\":\"%#018lx\","
    "\"groups\":[%s],\"suspends\":[],\"relaxed\":\"\",\"unwinding\":null}",
        v[2], v[3], base, 12288, 4096, code, 256, map->l_addr, group);
  sprintf(name, "suture:%s", v[2]);
  int fd = memfd_create(name, 0); ftruncate(fd, 16384);
  uint16_t format = 1; uint32_t length = n;
  pwrite(fd, "SUTUREREC", 10, 0); pwrite(fd, &format, 2, 10); pwrite(fd, &length, 4, 12); pwrite(fd, json, n, 16);
  pwrite(fd, "\x8d\x44\x7f\x01\xc3", 5, 8192);  /* what the old code answers: 3x + 1 */
  mmap((void *)base, 12288, PROT_READ | PROT_EXEC, MAP_PRIVATE | MAP_FIXED, fd, 0);
  mmap((void *)data, 4096, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_FIXED, fd, 12288);
  char *page = (char *)((uintptr_t)at & ~4095ul); int32_t by = code - (uintptr_t)at - 5;
  mprotect(page, 8192, 7); at[0] = 0xe9; memcpy(at + 1, &by, 4); mprotect(page, 8192, 5);
  printf("%d\n", answer(2)); fflush(stdout); pause();
}
"""


@pytest.mark.parametrize("mode", ["fixed", "empty"])
def test_a_forged_record_neither_passes_for_a_patch_nor_ends_the_listing_of_others(
    start: Start, gcc: Compile, library: Path, program: Path, patch: PatchFile, tmp_path: Path, mode: str
) -> None:
    forger = gcc(tmp_path / "forger", FORGER, str(library), f"-Wl,-rpath,{library.parent}", "-w")
    (function,) = patch.manifest.functions
    target, honest = (
        start(forger, mode, patch.id, patch.manifest.target.build_id, function.sha256, function.size),
        start(program),
    )
    assert target.line() == "7" and honest.ask("2") == "7 107 9"
    apply(honest.pid, patch)
    assert in_memory(honest.pid, patch) == [Memory.FIXED]
    assert in_memory(target.pid, patch) == [Memory.OPEN]
    told = {p.pid for p in status_of_all()[0]}
    assert {honest.pid, target.pid} <= told
    if mode == "fixed":
        assert [p.state for p in status(target.pid).patches] == [State.APPLIED]  # so it says of itself
        assert "is not what its patch file writes" in rows_of(target.pid, patch)[0].why
        assert in_memory(target.pid) == [Memory.CLAIMED]
        result = apply(target.pid, patch)
        assert result.changed and in_memory(target.pid, patch) == [Memory.FIXED]


def test_what_was_changed_behind_a_true_record_is_found(
    start: Start, program: Path, patch: PatchFile, library: Path
) -> None:
    target = start(program)
    target.ask("2")
    apply(target.pid, patch)
    (placed,), _ = find_placed(target.pid, read_maps(target.pid))
    assert doubt(target.pid, patch, placed) == ""
    function = placed.record.functions[0]
    for address in (function.new + 2, placed.record.base + 20, function.orig, function.old + function.size - 1):
        with open(f"/proc/{target.pid}/mem", "r+b", buffering=0) as file:
            file.seek(address)
            before = file.read(1)
            file.seek(address)
            file.write(bytes([before[0] ^ 1]))
            assert in_memory(target.pid, patch) in ([Memory.OPEN], [Memory.PARTLY]), hex(address)
            assert Memory.FIXED not in in_memory(target.pid, patch)
            file.seek(address)
            file.write(before)
    assert in_memory(target.pid, patch) == [Memory.FIXED]


SIBLINGS = r"""
#define _GNU_SOURCE
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>
int answer(int);
int main(void) {
  unsigned long a, b; char line[500]; FILE *f = fopen("/proc/self/maps", "r");
  while (fgets(line, sizeof line, f)) if (strstr(line, "libanswer.so")) { sscanf(line, "%lx-%lx", &a, &b); break; }
  fclose(f); setvbuf(stdout, 0, _IOLBF, 0); answer(1);
  for (int i = 0; i < 3; i++) if (!fork()) {
    mmap(0, 12288, PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (i == 0) {
      mprotect((void *)a, b - a, PROT_READ | PROT_WRITE);
      char *p = memmem((void *)a, b - a, "GNU\0", 4); p[4] ^= 0xff;
      mprotect((void *)a, b - a, PROT_READ);
    }
    printf("%d\n", getpid()); pause();
  }
  pause();
}
"""


def test_a_process_that_lies_hides_none_of_its_siblings(
    start: Start, gcc: Compile, library: Path, patch: PatchFile, tmp_path: Path
) -> None:
    parent = start(gcc(tmp_path / "siblings", SIBLINGS, str(library), f"-Wl,-rpath,{library.parent}", "-w"))
    children = {int(parent.line()) for _ in range(3)}
    maps = [Path(f"/proc/{pid}/maps").read_text() for pid in children]
    assert len(set(maps)) == 1
    assert len(children & set(find(patch.manifest.target.build_id))) == 2


def test_a_static_program_that_changes_its_code_hides_no_other_of_its_file(
    start: Start, gcc: Compile, make_patch: Make, tmp_path: Path
) -> None:
    body = (
        "long r = x; for (long n = 1; n < x; n++) { r = r * 31 + (r >> 3) + n * 5 - 77; r ^= r << 9; r += n % 7; } "
        "return r;"
    )
    holder = gcc(tmp_path / "holder", f"""
    #include <stdio.h>
    __attribute__((noinline)) long f(long x) {{ {body} }}
    int main(int c, char **v) {{ char l[9]; setvbuf(stdout, 0, _IOLBF, 0); puts("up"); fgets(l, 9, stdin);
        return f(c); }}""", "-static")  # fmt: skip
    library = gcc(tmp_path / "libf.so", f"long f(long x) {{ {body} }}", "-fPIC", "-shared")
    patch = make_patch(tmp_path / "p", library, "long f(long x) { return x; }", {"f": ["f"]}, code=True)
    liar, honest = start(holder), start(holder)
    assert liar.line() == honest.line() == "up" and liar.pid < honest.pid
    (row,) = rows_of(liar.pid, patch)
    address = int(row.why.partition("(f at ")[2].partition(")")[0], 16)
    with open(f"/proc/{liar.pid}/mem", "r+b", buffering=0) as file:
        file.seek(address + 20)
        file.write(b"\xcc" * 4)
    assert in_memory(liar.pid, patch) == [] and in_memory(honest.pid, patch) == [Memory.OPEN]


ONE_PAGE = ["-Wl,-z,noseparate-code", "-fuse-ld=gold", "-Wl,-z,noseparate-code -Wl,-z,norelro"]
FAR = ["-Wl,--section-start=.text=0x41230", "-Wl,--section-start=.far=0x81000 -DFAR=1", "-Wl,-z,max-page-size=0x200000"]


@pytest.mark.parametrize("flags", [*ONE_PAGE, *FAR])
def test_a_library_whose_segments_share_the_first_page_of_its_file_or_lie_far_apart_is_one_image(
    start: Start, gcc: Compile, make_patch: Make, tmp_path: Path, flags: str
) -> None:
    source = """
    #ifdef FAR
    __attribute__((section(".far")))
    #endif
    int f(int x) { __asm__ volatile(""); return x * 3 + 1; }
    int near(int x) { return f(x) + 1; }"""
    library = gcc(tmp_path / "libone.so", source, "-fPIC", "-shared", *flags.split())
    patch = make_patch(tmp_path / "p", library, "int f(int x) { return x * 5; }", {"f": ["f"]})
    program = gcc(tmp_path / "asks", ASKS, str(library), f"-Wl,-rpath,{tmp_path}")
    target = start(program)
    assert target.ask() == "7"
    pid = target.pid
    assert len([i for i in images(pid, read_maps(pid)) if i.build_id == patch.manifest.target.build_id]) == 1
    assert apply(pid, patch).exit_code is ExitCode.OK and target.ask() == "10"
    assert in_memory(pid, patch) == [Memory.FIXED]


def test_program_headers_may_lie_behind_the_first_page_of_a_file(
    start: Start, gcc: Compile, make_patch: Make, tmp_path: Path
) -> None:
    source = """
    const char room[8192] = "room for program headers";
    int f(int x) { __asm__ volatile(""); return x * 3 + 1; }"""
    library = gcc(tmp_path / "libone.so", source, "-fPIC", "-shared", "-Wl,-z,noseparate-code")
    data = bytearray(library.read_bytes())
    (phoff,), (count,) = struct.unpack_from("<Q", data, 32), struct.unpack_from("<H", data, 56)
    moved = (data.index(b"room for program headers") + 4096) // 8 * 8
    data[moved : moved + 56 * count] = data[phoff : phoff + 56 * count]
    data[phoff : phoff + 56 * count] = bytes(56 * count)
    struct.pack_into("<Q", data, 32, moved)
    library.write_bytes(data)
    patch = make_patch(tmp_path / "p", library, "int f(int x) { return x * 5; }", {"f": ["f"]})
    target = start(gcc(tmp_path / "asks", ASKS, str(library), f"-Wl,-rpath,{tmp_path}"))
    assert target.ask() == "7"
    assert apply(target.pid, patch).exit_code is ExitCode.OK and target.ask() == "10"
    (row,) = rows_of(target.pid, patch)
    assert row.standing.memory is Memory.FIXED and row.standing.disk is Disk.OPEN


@pytest.mark.parametrize(
    ("offset", "form", "value"),
    [(40, "<Q", 0), (40, "<Q", 1 << 63), (60, "<H", 0xFFFF), (62, "<H", 0xFFFF)],
    ids=["none", "far away", "too many", "names of none"],
)
def test_section_headers_of_rubbish_concern_no_process(
    start: Start, gcc: Compile, make_patch: Make, tmp_path: Path, offset: int, form: str, value: int
) -> None:
    """The loader does not read them."""
    source = 'int f(int x) { __asm__ volatile(""); return x * 3 + 1; }'
    library = gcc(tmp_path / "libone.so", source, "-fPIC", "-shared")
    patch = make_patch(tmp_path / "p", library, "int f(int x) { return x * 5; }", {"f": ["f"]})
    program = gcc(tmp_path / "asks", ASKS, str(library), f"-Wl,-rpath,{tmp_path}")
    data = bytearray(library.read_bytes())
    struct.pack_into(form, data, offset, value)  # e_shoff, e_shnum, e_shstrndx
    library.write_bytes(data)
    target = start(program)
    assert target.ask() == "7"
    assert apply(target.pid, patch).exit_code is ExitCode.OK and target.ask() == "10"
    (row,) = rows_of(target.pid, patch)
    assert row.standing.memory is Memory.FIXED and row.standing.disk is Disk.OPEN


def test_a_build_id_that_is_not_in_memory_is_the_reason_that_is_given(
    start: Start, gcc: Compile, library: Path, patch: PatchFile, tmp_path: Path
) -> None:
    bare = gcc(tmp_path / "libanswer.so", "int f(int x) { return x + 5; }", "-fPIC", "-shared", "-Wl,--build-id=none")
    target = start(gcc(tmp_path / "asks", ASKS, str(bare), f"-Wl,-rpath,{tmp_path}"))
    assert target.ask() == "7"
    with pytest.raises(WrongTarget, match=r"libanswer\.so has no ELF header with a build-id in memory"):
        apply(target.pid, patch, timeout=0.5)


ASKS = r"""
#include <stdio.h>
int f(int);
int main(void) { char line[64]; setvbuf(stdout, 0, _IOLBF, 0); while (fgets(line, 64, stdin)) printf("%d\n", f(2)); }
"""


def test_a_file_that_is_mapped_to_be_read_is_not_loaded(
    start: Start, gcc: Compile, library: Path, patch: PatchFile, tmp_path: Path
) -> None:
    source = r"""
    #include <fcntl.h>
    #include <stdio.h>
    #include <sys/mman.h>
    #include <unistd.h>
    int main(int c, char **v) { mmap(0, 16384, PROT_READ, MAP_PRIVATE, open(v[1], O_RDONLY), 0); puts("up");
        fflush(stdout); pause(); }"""
    target = start(gcc(tmp_path / "reader", source, "-static"), library)
    assert target.line() == "up"
    assert target.pid not in find(patch.manifest.target.build_id)


def test_text_that_is_mapped_shared_is_refused_with_the_reason(
    start: Start, gcc: Compile, library: Path, patch: PatchFile, tmp_path: Path
) -> None:
    source = r"""
    #define _GNU_SOURCE
    #include <fcntl.h>
    #include <stdio.h>
    #include <string.h>
    #include <sys/mman.h>
    #include <unistd.h>
    int answer(int);
    int main(void) { char l[500], path[300]; unsigned long a, b, o; FILE *f = fopen("/proc/self/maps", "r"); answer(1);
      while (fgets(l, 500, f)) if (strstr(l, "libanswer.so") && strstr(l, "r-xp")) {
        sscanf(l, "%lx-%lx %*s %lx %*s %*s %s", &a, &b, &o, path);
        mmap((void *)a, b - a, PROT_READ | PROT_EXEC, MAP_SHARED | MAP_FIXED, open(path, O_RDONLY), o); break; }
      puts("up"); fflush(stdout); pause(); }"""
    target = start(gcc(tmp_path / "shared", source, str(library), f"-Wl,-rpath,{library.parent}", "-w"))
    assert target.line() == "up"
    with pytest.raises(Refused, match="shared mapping"):
        apply(target.pid, patch, timeout=0.5)


def test_a_program_that_executes_itself_is_fixed_no_longer_than_until_then(
    start: Start, gcc: Compile, make_patch: Make, tmp_path: Path
) -> None:
    source = r"""
    #include <stdio.h>
    #include <unistd.h>
    __attribute__((noinline)) int f(int x) { __asm__ volatile(""); return x * 3 + 1; }
    int main(int c, char **v) { char line[64]; setvbuf(stdout, 0, _IOLBF, 0);
      if (c > 1) { printf("%d\n", f(2)); pause(); }
      while (fgets(line, 64, stdin)) if (line[0] == 'x') { if (!fork()) execl("/proc/self/exe", v[0], "child", NULL); }
        else printf("%d\n", f(2)); }"""
    program = gcc(tmp_path / "server", source, "-w")
    patch = make_patch(tmp_path / "p", program, "int f(int x) { return x * 5; }", {"f": ["f"]})
    target = start(program)
    assert target.ask() == "7"
    apply(target.pid, patch)
    assert target.ask() == "10" and in_memory(target.pid, patch) == [Memory.FIXED]
    assert target.ask("x") == "7"
    (row,) = rows_of(target.pid, patch)
    assert row.standing.memory is Memory.UNTIL_EXEC and "executed its own file anew" in row.why
    daemon = tmp_path / "sshd"
    shutil.copy(program, daemon)
    known = start(daemon)
    assert known.ask() == "7"
    apply(known.pid, patch)
    (row,) = rows_of(known.pid, patch)
    assert row.standing.memory is Memory.UNTIL_EXEC and "for each connection" in row.why
    os.unlink(daemon)
    shutil.copy(tmp_path / "server", daemon)
    with open(daemon, "r+b") as file:  # another build-id: the fixed package
        data = file.read()
        file.seek(data.index(bytes.fromhex(patch.manifest.target.build_id)))
        file.write(bytes(20))
    (row,) = rows_of(known.pid, patch)
    assert row.standing.memory is Memory.FIXED and row.standing.disk is Disk.REPLACED


def test_the_file_on_disk_is_looked_up_in_the_root_of_the_process_and_never_waited_for(
    start: Start, gcc: Compile, make_patch: Make, tmp_path: Path
) -> None:
    source = r"""
    #include <stdio.h>
    #include <unistd.h>
    __attribute__((noinline)) int f(int x) { __asm__ volatile(""); return x * 3 + 1; }
    int main(int c, char **v) { if (c > 1 && (chroot(v[1]) || chdir("/"))) return 1;
      puts("up"); fflush(stdout); pause(); return f(c); }"""
    jail = tmp_path / "jail"
    jail.mkdir()
    program = gcc(jail / "server", source, "-static", "-w")
    patch = make_patch(tmp_path / "p", program, "int f(int x) { return x * 5; }", {"f": ["f"]})
    target = start(program, jail)
    assert target.line() == "up"

    def now() -> Disk:
        (row,) = rows_of(target.pid, patch)
        return row.standing.disk

    assert now() is Disk.OPEN
    os.rename(program, jail / "old")
    assert now() is Disk.OPEN  # its name goes with it
    os.unlink(jail / "old")
    assert now() is Disk.DELETED
    for make in (os.mkfifo, os.mkdir, lambda p: os.symlink("/etc/passwd", p), lambda p: os.symlink("old", p)):
        make(jail / "old")
        assert now() in (Disk.UNREAD, Disk.DELETED)
        (os.rmdir if (jail / "old").is_dir() and not (jail / "old").is_symlink() else os.unlink)(jail / "old")
    with open(jail / "old", "wb") as file:
        file.write(b"\x7fELF\x02\x01\x01" + b"\xff" * 57)
        file.truncate(1 << 40)
    assert now() is Disk.UNREAD


def test_a_process_that_executes_another_program_before_its_turn_is_told_so(
    start: Start, gcc: Compile, make_patch: Make, tmp_path: Path
) -> None:
    source = r"""
    #include <signal.h>
    #include <stdio.h>
    #include <unistd.h>
    __attribute__((noinline)) int f(int x) { __asm__ volatile(""); return x * 3 + 1; }
    static char *other;
    static void go(int s) { execl(other, other, NULL); }
    int main(int c, char **v) { other = v[1]; signal(SIGUSR1, go); puts("up"); fflush(stdout); for (;;) pause();
        return f(c); }"""
    program = gcc(tmp_path / "first", source, "-w")
    other = gcc(
        tmp_path / "other",
        '#include <stdio.h>\n#include <unistd.h>\nint main(void) { puts("other"); fflush(stdout); pause(); }',
    )
    patch = make_patch(tmp_path / "p", program, "int f(int x) { return x * 5; }", {"f": ["f"]})
    targets = [start(program, other) for _ in range(12)]
    assert all(t.line() == "up" for t in targets)

    waiting = [targets[-1]]

    def told(done: int, of: int) -> None:
        if waiting:
            os.kill(waiting[0].pid, signal.SIGUSR1)
            assert waiting.pop().line() == "other"

    run = apply_everywhere(patch, jobs=1, report=told)
    assert [o.pid for o in run.outcomes] == [t.pid for t in targets[:-1]]
    assert all(o.exit_code is ExitCode.OK for o in run.outcomes)
    assert run.executed == (targets[-1].pid,) and run.ended == ()


def test_a_file_that_another_holds_or_a_file_system_never_gives_is_not_waited_for(
    start: Start, program: Path, patch: PatchFile, library: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    own = tmp_path / library.name
    shutil.copy(library, own)
    target = start(program, env={"LD_PRELOAD": str(own)})
    target.ask("2")
    process = next(p for p in every_process()[0] if p.pid == target.pid)
    image = next(i for i in process.images if i.path == str(own))
    with Files() as files:
        assert files.behind(process, image).build_id == image.build_id
    shutil.copy(library, tmp_path / "new")
    os.rename(tmp_path / "new", own)
    before = signal.signal(signal.SIGIO, signal.SIG_IGN)
    file = os.open(own, os.O_RDWR)
    try:
        fcntl.fcntl(file, fcntl.F_SETLEASE, fcntl.F_WRLCK)
        began = time.monotonic()
        with Files() as files:
            assert files.behind(process, image).why
        assert time.monotonic() - began < 0.9
    finally:
        os.close(file)
        signal.signal(signal.SIGIO, before)

    def never(root: str, path: str) -> None:
        time.sleep(100)

    monkeypatch.setattr(disk, "_look_up", never)
    began = time.monotonic()
    with Files() as files:
        for n in range(20):
            answer = files.behind(process, replace(image, path=f"{image.path}{n}"))
            assert not answer.build_id and "does not answer" in answer.why
    assert time.monotonic() - began < 6


def test_a_patch_that_leaves_out_a_part_of_its_fix_is_half(start: Start, program: Path, patch: PatchFile) -> None:
    refused = RefusedFunction("limit", "l.c", 2, "its initial value changes", "restart the program")
    half = replace(patch, manifest=replace(patch.manifest, verdict=Verdict(False, (), (refused,))))
    target = start(program)
    target.ask("2")
    apply(target.pid, half)
    (row,) = rows_of(target.pid, half)
    assert row.cves == ("CVE-2099-0001",)
    assert row.standing.memory is Memory.PARTLY and "leaves out l.c: limit: its initial value changes" in row.why


def test_a_fix_in_two_binaries_is_in_force_when_both_have_their_part(
    start: Start, program: Path, library: Path, gcc: Compile, make_patch: Make, tmp_path: Path
) -> None:
    other = gcc(tmp_path / "libother.so", "int other(int x) { return x * 5 + 1; }", "-shared", "-fPIC")
    both = gcc(tmp_path / "both", BOTH, str(library), str(other), f"-Wl,-rpath,{library.parent}:{tmp_path}")
    parts = [
        spread(make_patch(tmp_path / f"made-{f}", one, f"int {f}(int x) {{ return 1; }}", {f: [f]}, name=f), beside)
        for one, f, beside in ((library, "answer", other), (other, "other", library))
    ]
    target, alone = start(both), start(program)
    assert target.ask() == "up"
    assert alone.ask("2") == "7 107 9"
    apply(target.pid, parts[0])
    apply(alone.pid, parts[0])
    rows = {(r.pid, Path(r.file).name): r for r in scan(parts).rows}
    half = rows[target.pid, library.name]
    assert half.standing.memory is Memory.PARTLY and f"changes {other.name} too" in half.why
    assert half.cves == ("CVE-2099-0001",) and not half.holes[0].state.is_closed
    assert rows[alone.pid, library.name].standing.memory is Memory.FIXED, "it has not loaded the other one"
    apply(target.pid, parts[1])
    assert {r.standing.memory for r in scan(parts).rows if r.pid == target.pid} == {Memory.FIXED}


BOTH = """
#include <stdio.h>
#include <unistd.h>
int answer(int), other(int);
int main(void) { setvbuf(stdout, 0, _IOLBF, 0); while (getchar() != EOF) { puts("up"); answer(1); other(1); } }
"""


def spread(patch: PatchFile, other: Path) -> PatchFile:
    """The patch as it is when its fix changes another binary too."""
    (fix,) = patch.manifest.fixes
    elsewhere = Account(Fate.ELSEWHERE, added=(Lines(1, 1),), others=(other.name,))
    ledger = Ledger((*fix.ledger.files, FileAccount("other.c", (elsewhere,))))
    return replace(patch, manifest=replace(patch.manifest, fixes=(replace(fix, ledger=ledger),)))


def test_a_process_all_of_whose_threads_have_ended_is_no_process_any_more(
    start: Start, gcc: Compile, tmp_path: Path, eventually: Eventually
) -> None:
    source = r"""
    #include <pthread.h>
    #include <stdio.h>
    #include <unistd.h>
    #include <sys/syscall.h>
    static void *work(void *a) { printf("%ld\n", syscall(SYS_gettid)); fflush(stdout); for (;;) pause(); }
    int main(void) { pthread_t t; pthread_create(&t, 0, work, 0); for (;;) pause(); }"""
    target = start(gcc(tmp_path / "target", source, "-pthread"))
    thread = int(target.line())
    syscall.seize(thread)
    os.kill(target.pid, signal.SIGKILL)
    eventually(lambda: ") Z " in Path(f"/proc/{target.pid}/task/{thread}/stat").read_text())
    try:
        found, unread = every_process()
        assert target.pid not in {*(p.pid for p in found), *(p.pid for p in unread)}
    finally:
        syscall.waitpid(thread)
