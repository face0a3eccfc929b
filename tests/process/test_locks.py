"""Locks of the C library that a thread holds while a patch goes in: nothing of the engine's work in the process may
want one."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from suture.patch.file import PatchFile
from suture.process.change.apply import apply
from suture.process.change.revert import revert

Start = Callable[..., Any]
Compile = Callable[..., Path]
Make = Callable[..., PatchFile]

BODY = r"""
#define _GNU_SOURCE
#include <dlfcn.h>
#include <pthread.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>
__attribute__((noipa)) int f(int x) { return x * 3 + 1; }
static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
volatile int held;
static void *hold(void *path) {
  if (path) {
    dlopen(path, RTLD_NOW); /* its constructor does not return, so the loader's lock stays taken */
  } else {
    pthread_mutex_lock(&lock);
    held = 1;
  }
  for (;;) pause();
}
#ifdef OWN_MALLOC
static char room[1 << 20];
static size_t used;
void *malloc(size_t n) {
  pthread_mutex_lock(&lock);
  void *at = room + used;
  used += (n + 15) & ~15ul;
  pthread_mutex_unlock(&lock);
  return at;
}
void free(void *p) { pthread_mutex_lock(&lock); pthread_mutex_unlock(&lock); }
void *calloc(size_t n, size_t m) { return malloc(n * m); }
void *realloc(void *p, size_t n) { return memcpy(malloc(n), p, n); }
#endif
int main(int argc, char **argv) {
  pthread_t t;
  pthread_create(&t, 0, hold, argc > 1 ? argv[1] : 0);
  while (!held) usleep(100);
  char line[64];
  while (read(0, line, sizeof line) > 0) write(1, line, snprintf(line, sizeof line, "%d\n", f(7)));
}
"""
HOLDER = (
    "#include <unistd.h>\nextern volatile int held;\n__attribute__((constructor)) static void up(void) { held = 1; "
    "for (;;) pause(); }\n"
)


def there_and_back(target: Any, patch: PatchFile) -> None:
    for _ in range(5):
        assert target.ask() == "22"
        apply(target.pid, patch)
        assert target.ask() == "1000"
        revert(target.pid, patch.id)
    assert target.ask() == "22" and target.alive()


@pytest.mark.parametrize("new", ["int f(int x) { return 1000; }",
"int atoi(const char *); int f(int x) { return atoi(\"1000\"); }"],
                         ids=["alone", "import"])  # fmt: skip
def test_a_lock_of_malloc_that_is_held_for_ever(
    gcc: Compile, make_patch: Make, start: Start, tmp_path: Path, new: str
) -> None:
    program = gcc(tmp_path / "target", BODY, "-DOWN_MALLOC", "-pthread", "-w")
    there_and_back(start(program), make_patch(tmp_path, program, new, {"f": ["f"]}))


def test_the_loaders_lock_that_is_held_for_ever(gcc: Compile, make_patch: Make, start: Start, tmp_path: Path) -> None:
    holder = gcc(tmp_path / "libholder.so", HOLDER, "-shared", "-fPIC")
    program = gcc(tmp_path / "target", BODY, "-pthread", "-w", "-rdynamic")
    patch = make_patch(tmp_path, program, 'int atoi(const char *); int f(int x) { return atoi("1000"); }', {"f": ["f"]})
    there_and_back(start(program, holder), patch)
