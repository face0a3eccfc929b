/* The least that any live patcher must do: stop every thread of PID, read registers and used stacks, let them go.

   floor PID: for each line on standard input one round, for which it prints nanoseconds: stop, registers, stacks, resume,
   total; then threads and bytes of stack. Attaching and reading the map of memory come before the pause, as they may. On a
   line "realtime" the round runs under SCHED_FIFO, so that the threads it wakes do not take its core away. */
#define _GNU_SOURCE
#include <dirent.h>
#include <sched.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ptrace.h>
#include <sys/resource.h>
#include <sys/uio.h>
#include <sys/user.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#define MOST 4096
#define AT_ONCE 1024 /* IOV_MAX */
#define ROOM (256 << 20)
#define FIRST -20 /* but for the pause: what is not measured waits for no turn */

static int tids[MOST], threads, mappings;
static struct user_regs_struct registers[MOST];
static struct {
  uint64_t start, end;
} maps[4 * MOST];
static struct iovec here[MOST], there[MOST];
static char *room;

static void fail(const char *what) {
  perror(what);
  exit(1);
}

static uint64_t now(void) {
  struct timespec t;
  clock_gettime(CLOCK_MONOTONIC, &t);
  return t.tv_sec * 1000000000ull + t.tv_nsec;
}

static void schedule(int policy) {
  struct sched_param parameter = {policy == SCHED_FIFO};
  if (sched_setscheduler(0, policy, &parameter)) fail("sched_setscheduler");
}

static void attach(int pid) {
  char path[64];
  snprintf(path, sizeof path, "/proc/%d/task", pid);
  DIR *folder = opendir(path);
  if (!folder) fail(path);
  threads = 0;
  for (struct dirent *e; (e = readdir(folder));)
    if (e->d_name[0] != '.' && threads < MOST) tids[threads++] = atoi(e->d_name);
  closedir(folder);
  for (int i = 0; i < threads; i++)
    if (ptrace(PTRACE_SEIZE, tids[i], 0, 0)) fail("PTRACE_SEIZE");
}

static void read_maps(int pid) {
  char path[64], line[4096];
  snprintf(path, sizeof path, "/proc/%d/maps", pid);
  FILE *file = fopen(path, "r");
  if (!file) fail(path);
  for (mappings = 0; mappings < 4 * MOST && fgets(line, sizeof line, file);)
    if (sscanf(line, "%lx-%lx", &maps[mappings].start, &maps[mappings].end) == 2) mappings++;
  fclose(file);
}

static uint64_t end_of_stack(uint64_t pointer) {
  int low = 0, high = mappings;
  while (low < high) {
    int middle = (low + high) / 2;
    if (maps[middle].end <= pointer) low = middle + 1;
    else high = middle;
  }
  return low < mappings && maps[low].start <= pointer ? maps[low].end : pointer;
}

static size_t read_stacks(int pid) {
  size_t total = 0;
  for (int i = 0; i < threads; i++) {
    uint64_t start = registers[i].rsp & ~7ull, size = end_of_stack(start) - start;
    if (total + size > ROOM) size = 0;
    here[i] = (struct iovec){room + total, size};
    there[i] = (struct iovec){(void *)start, size};
    total += size;
  }
  for (int i = 0; i < threads; i += AT_ONCE) {
    int n = threads - i < AT_ONCE ? threads - i : AT_ONCE;
    if (process_vm_readv(pid, here + i, n, there + i, n, 0) < 0) fail("process_vm_readv");
  }
  return total;
}

int main(int argc, char **argv) {
  if (argc != 2) return 2;
  int pid = atoi(argv[1]), status;
  room = malloc(ROOM);
  setpriority(PRIO_PROCESS, 0, FIRST);
  for (char line[16]; fgets(line, sizeof line, stdin);) {
    int realtime = !strcmp(line, "realtime\n");
    attach(pid);
    read_maps(pid);
    if (realtime) schedule(SCHED_FIFO);
    setpriority(PRIO_PROCESS, 0, 0);
    uint64_t begin = now();
    for (int i = 0; i < threads; i++) ptrace(PTRACE_INTERRUPT, tids[i], 0, 0);
    for (int i = 0; i < threads; i++)
      if (waitpid(tids[i], &status, __WALL) != tids[i]) fail("waitpid");
    uint64_t stopped = now();
    for (int i = 0; i < threads; i++)
      if (ptrace(PTRACE_GETREGS, tids[i], 0, &registers[i])) fail("PTRACE_GETREGS");
    uint64_t known = now();
    size_t bytes = read_stacks(pid);
    uint64_t seen = now();
    for (int i = 0; i < threads; i++) ptrace(PTRACE_DETACH, tids[i], 0, 0);
    uint64_t end = now();
    setpriority(PRIO_PROCESS, 0, FIRST);
    if (realtime) schedule(SCHED_OTHER);
    printf("%lu %lu %lu %lu %lu %d %zu\n", stopped - begin, known - stopped, seen - known, end - seen, end - begin, threads, bytes);
    fflush(stdout);
  }
}
