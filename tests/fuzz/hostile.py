"""Programs that do their worst to whoever looks at them: each lays out its own memory, files or names so that a look is
long, large, or never ends.

Each prints `up` when it is ready, and goes on until it is killed; files go to $TMPDIR. All but `silent` and `cyclic`
need no rights at all.
"""

from __future__ import annotations

_HEAD = r"""
#define _GNU_SOURCE
#include <elf.h>
#include <fcntl.h>
#include <link.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>
static void ready(void) { puts("up"); fflush(stdout); for (;;) pause(); }
static char home[4096];
static void own_folder(void) { sprintf(home, "%s/hostile-XXXXXX", getenv("TMPDIR")); chdir(mkdtemp(home)); }
static void fake(char *b, int notes, int address, int size) {
  Elf64_Ehdr *h = (void *)b;
  memcpy(h->e_ident, "\177ELF\2\1\1", 7);
  h->e_machine = 62; h->e_type = 3; h->e_phoff = 64; h->e_phentsize = 56; h->e_phnum = notes + 1;
  Elf64_Phdr *p = (void *)(b + 64);
  p[0] = (Elf64_Phdr){.p_type = PT_LOAD, .p_flags = 5, .p_filesz = 4096 + 65536, .p_memsz = 4096 + 65536};
  for (int i = 1; i <= notes; i++) p[i] = (Elf64_Phdr){.p_type = PT_NOTE, .p_vaddr = address, .p_filesz = size};
}
"""

PROGRAMS: dict[str, str] = {
    # mappings of one file whose header has 62 segments of empty notes, 64 KiB each
    "notes": r"""
int main(void) {
  int f = memfd_create("x", 0), size = 4096 + 65536;
  char *b = calloc(1, size);
  fake(b, 62, 4096, 65536);
  write(f, b, size);
  for (int i = 0; i < 30000; i++) mmap(0, size, PROT_READ | PROT_EXEC, MAP_PRIVATE, f, 0);
  ready();
}
""",
    # as many mappings as the kernel allows, each with a path of 440 bytes: 30 MB of text
    "maps": r"""
int main(void) {
  char d[201]; d[200] = 0; own_folder();
  for (int i = 0; i < 2; i++) { memset(d, 'a' + i, 200); mkdir(d, 0755); chdir(d); }
  int f = open("x", O_RDWR | O_CREAT, 0644); ftruncate(f, 4096);
  for (int i = 0; i < 64500; i++) mmap(0, 4096, PROT_READ, MAP_PRIVATE, f, 0);
  unlink("x"); chdir(".."); rmdir(d); chdir(".."); d[0] = 0; memset(d, 'a', 200); rmdir(d); chdir("/"); rmdir(home);
  ready();
}
""",
    # as many again without any path
    "anonymous": r"""
int main(void) {
  for (int i = 0; i < 64000; i++) mmap(0, 4096, i & 1 ? PROT_READ : PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  ready();
}
""",
    # thousands of files that look like programs, no two alike, each with a build-id
    "images": r"""
int main(void) {
  int size = 8192;
  for (int i = 0; i < 20000; i++) {
    int f = memfd_create("x", 0); char *b = calloc(1, size);
    fake(b, 40, 3072, 1000); memcpy(b + 3072, "\4\0\0\0\24\0\0\0\3\0\0\0GNU", 16); memcpy(b + 3088, &i, 4);
    write(f, b, size); mmap(0, size, PROT_READ | PROT_EXEC, MAP_PRIVATE, f, 0); close(f); free(b);
  }
  ready();
}
""",
    # memory that is called as a patch's is, with records as large as their mappings, full of brackets
    "records": r"""
int main(void) {
  int size = 8 << 20; char *b = malloc(size + 4096);
  for (int i = 0; i < 40; i++) {
    char name[64]; sprintf(name, "suture:%016x", i); int f = memfd_create(name, 0);
    unsigned n = (4 << 20) - i; memset(b, 0, size + 4096); memcpy(b, "SUTUREREC\0\1\0", 12); memcpy(b + 12, &n, 4);
    b[16] = '['; for (unsigned k = 1; k < n - 3; k += 3) memcpy(b + 16 + k, "[],", 3);
    write(f, b, size + 4096);
    char *p = mmap(0, size + 4096, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    mmap(p, size, PROT_READ | PROT_EXEC, MAP_PRIVATE | MAP_FIXED, f, 0);
    mmap(p + size, 4096, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_FIXED, f, size); close(f);
  }
  ready();
}
""",
    # five hundred records, small and false
    "many_records": r"""
int main(void) {
  char b[8192];
  for (int i = 0; i < 500; i++) {
    char name[64]; sprintf(name, "suture:%016x", i); int f = memfd_create(name, 0);
    unsigned n = 4000; memset(b, 0, sizeof b); memcpy(b, "SUTUREREC\0\1\0", 12); memcpy(b + 12, &n, 4);
        memset(b + 16, '[', 4000);
    write(f, b, 8192);
    char *p = mmap(0, 8192, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    mmap(p, 4096, PROT_READ | PROT_EXEC, MAP_PRIVATE | MAP_FIXED, f, 0);
    mmap(p + 4096, 4096, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_FIXED, f, 4096); close(f);
  }
  ready();
}
""",
    # a static program whose file is long and empty, mapped as code a thousand times
    "code": r"""
int main(int c, char **v) {
  int f = open(v[0], O_RDONLY);
  for (int i = 0; i < 1000; i++) mmap(0, 64 << 20, PROT_READ | PROT_EXEC, MAP_PRIVATE | MAP_NORESERVE, f, 4096l * i);
  ready();
}
""",
    # the loader's list of what is loaded leads back to itself
    "cyclic": r"""
extern struct r_debug _r_debug;
int main(void) {
  struct r_debug *r = 0;
  for (Elf64_Dyn *d = _DYNAMIC; d->d_tag; d++) if (d->d_tag == DT_DEBUG) r = (void *)d->d_un.d_ptr;
  struct link_map *m = r->r_map;
  while (m->l_next) m = m->l_next;
  m->l_next = r->r_map;
  puts("up"); fflush(stdout); for (;;) syscall(SYS_pause);
}
""",
    # a mapped file whose pages are asked for and never given, as by a server of FUSE that does not answer
    "silent": r"""
#include <linux/userfaultfd.h>
int main(void) {
  int u = syscall(SYS_userfaultfd, 0), f = memfd_create("silent", 0);
  struct uffdio_api api = {.api = UFFD_API};
  ioctl(u, UFFDIO_API, &api);
  ftruncate(f, 65536);
  char *p = mmap(0, 65536, PROT_READ | PROT_WRITE, MAP_PRIVATE, f, 0);
  struct uffdio_register r = {.range = {(unsigned long)p, 65536}, .mode = UFFDIO_REGISTER_MODE_MISSING};
  if (ioctl(u, UFFDIO_REGISTER, &r)) { perror("userfaultfd"); return 1; }
  ready();
}
""",
    # files that seem to have been replaced, by ones that another holds a lease on: whoever opens them waits
    "lease": r"""
int main(int c, char **v) {
  own_folder(); signal(SIGIO, SIG_IGN);
  FILE *self = fopen("/proc/self/exe", "rb"); char *b = malloc(1 << 20); size_t n = fread(b, 1, 1 << 20, self);
  for (int i = 0; i < 20; i++) {
    char a[64], d[80]; sprintf(a, "lib%d.so", i); sprintf(d, "%s (deleted)", a);
    int f = open(d, O_RDWR | O_CREAT, 0755); write(f, b, n); close(f); f = open(d, O_RDONLY);
    mmap(0, n, PROT_READ | PROT_EXEC, MAP_PRIVATE, f, 0); close(f);
    int g = open(a, O_RDWR | O_CREAT, 0644); fcntl(g, F_SETLEASE, F_WRLCK);
  }
  ready();
}
""",
    # names that a terminal would obey
    "names": r"""
int main(void) {
  own_folder(); prctl(PR_SET_NAME, "x\033[31m\n(1)", 0, 0, 0);
  FILE *self = fopen("/proc/self/exe", "rb"); char *b = malloc(1 << 20); size_t n = fread(b, 1, 1 << 20, self);
  const char *all[] = {"a\033]0;T\a\033[31m.so", "b\nfake 1 root /usr/lib/libssl.so.3 deadbeef fixed in memory",
      "d\342\200\256gnp.so", "c\\057..\\057x"};
  for (int i = 0; i < 4; i++) {
    int f = open(all[i], O_RDWR | O_CREAT, 0755); write(f, b, n); close(f); f = open(all[i], O_RDONLY);
    mmap(0, n, PROT_READ | PROT_EXEC, MAP_PRIVATE, f, 0); unlink(all[i]);
  }
  ready();
}
""",
    # the first thread has ended, and the others come and go
    "headless": r"""
static void *work(void *a) { pthread_t t; usleep(20000); pthread_create(&t, 0, work, 0); pthread_detach(t);
    usleep(20000); return 0; }
int main(void) {
  pthread_t t; puts("up"); fflush(stdout); pthread_create(&t, 0, work, 0); pthread_detach(t); pthread_exit(0);
}
""",
    # children without end, each of which lives for a moment
    "births": r"""
int main(void) {
  puts("up"); fflush(stdout);
  for (;;) { pid_t p = fork(); if (!p) { usleep(1000); _exit(0); } usleep(2000); waitpid(p, 0, 0); }
}
""",
    # the same process, ever another program
    "execs": r"""
int main(int c, char **v) {
  if (c < 2) { puts("up"); fflush(stdout); }
  usleep(5000); execl("/proc/self/exe", v[0], "again", (char *)0);
}
""",
}  # fmt: skip
FLAGS = {"code": ("-static",), "headless": ("-pthread",)}
SOURCES = {name: _HEAD + text for name, text in PROGRAMS.items()}
NEED_ROOT = frozenset({"silent"})
"""userfaultfd(2) for faults of the kernel; a user without rights has FUSE for it."""
