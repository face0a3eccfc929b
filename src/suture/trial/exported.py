"""Functions of a patch that other files may call, called with arguments that nobody meant.

A program loads the library and calls each of them in processes of their own: with zeros, and with addresses of zeroed
memory in place of the first one, two or three. Most return at once, which is enough to see that the new code is
reached, runs and returns. What a call with such arguments does proves no fault: a fix may look at more of what it is
given, or less. So one that ends otherwise with the patch is named for a person, and only one that does so when the
patch is taken back fails the trial.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from suture.elf.abi import SymbolBind, SymbolType
from suture.elf.file import ElfFile
from suture.patch.manifest import Manifest

_MOST = 200

CALL = r"""
#include <stdio.h>
#include <stdlib.h>
#include <signal.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>
#include <fcntl.h>
#include <dlfcn.h>
enum { POINTERS = 4, SIZE = 1 << 16, RETURNED = 77, SECONDS = 2, ALL = 15 };
typedef long (*called)(void *, void *, void *, void *, void *, void *);
static char zeroed[POINTERS * SIZE];
static void in_child(called function, int pointers) {
  struct rlimit seconds = {SECONDS, SECONDS}, memory = {1L << 30, 1L << 30};
  void *given[6] = {0};
  int nowhere = open("/dev/null", O_RDWR);
  for (int n = 0; n < pointers; n++) given[n] = zeroed + n * SIZE;
  for (int n = 0; n < 3; n++) dup2(nowhere, n);
  setsid();
  setrlimit(RLIMIT_CPU, &seconds);
  setrlimit(RLIMIT_AS, &memory);
  alarm(SECONDS);
  function(given[0], given[1], given[2], given[3], given[4], given[5]);
  _exit(RETURNED);
}
static void call_all(void *library, int count, char **names) {
  time_t begin = time(0);
  for (int n = 0; n < count; n++) {
    void *function = dlsym(library, names[n]);
    for (int pointers = 0; function && pointers < POINTERS && time(0) - begin < ALL; pointers++) {
      int status = 0;
      fflush(stdout);
      pid_t child = fork();
      if (child == 0) in_child((called)function, pointers);
      if (child < 0 || waitpid(child, &status, 0) != child) continue;
      if (WIFEXITED(status) && WEXITSTATUS(status) == RETURNED) printf("%s/%d returned\n", names[n], pointers);
      else if (WIFSIGNALED(status) && WTERMSIG(status) == SIGALRM) break;
      else printf("%s/%d ended\n", names[n], pointers);
    }
  }
}
"""


def exported(elf: ElfFile, manifest: Manifest) -> dict[str, str]:
    """The replaced functions that a library offers to others: the names by which dlsym(3) finds them, and those that
    the patch has for them."""
    names: dict[int, str] = {}
    for symbol in elf.dynamic_symbols:
        is_offered = symbol.is_defined and symbol.bind in (SymbolBind.GLOBAL, SymbolBind.WEAK)
        if is_offered and symbol.type == SymbolType.FUNC and not symbol.hidden_version:
            names.setdefault(symbol.st_value, symbol.name)
    replaced = (f for g in manifest.groups for f in g.functions)
    found = {names[f.address]: f.name for f in replaced if f.address in names}
    return dict(sorted(found.items())[:_MOST])


@dataclass(frozen=True)
class Returns:
    """What the program says of a run: the calls that returned, and those that ended their process."""

    returned: frozenset[str]
    ended: frozenset[str]

    @classmethod
    def read(cls, output: bytes) -> Returns:
        rows = [line.rpartition(" ") for line in output.decode(errors="replace").splitlines()]
        return cls(*(frozenset(what for what, _, how in rows if how == word) for word in ("returned", "ended")))

    def calls(self, names: Mapping[str, str]) -> dict[str, int]:
        """How often the run called each function, by the names that the patch has for them. The kernel's counters don't
        reach into processes of a process."""
        called = (call.partition("/")[0] for call in (*self.returned, *self.ended))
        return dict(Counter(names[name] for name in called if name in names))


def lost(plain: Sequence[bytes], changed: bytes) -> tuple[str, ...]:
    """The functions of which a call returned in all plain runs and ended its process in a changed one."""
    always = frozenset[str].intersection(*(Returns.read(p).returned for p in plain))
    return tuple(sorted({call.partition("/")[0] for call in always & Returns.read(changed).ended}))
