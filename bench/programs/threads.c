/* The target of the pause benchmark: THREADS threads, one of which reads the clock all the time and notes each gap.

   threads FD THREADS idle|busy

   FD is a memfd laid out as `struct gauge`. Gaps are written to memory alone, so that noting one disturbs nothing. The
   other threads wait in pause(2), a futex or epoll_wait(2) by turns, or compute. */
#define _GNU_SOURCE
#include <pthread.h>
#include <stdatomic.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/mman.h>
#include <time.h>
#include <unistd.h>

#include "work.h"

#define GAPS 65536
#define SHORTEST_NS 10000

struct gauge {
  _Atomic uint64_t ready, count;
  struct {
    uint64_t end_ns, gap_ns;
  } gaps[GAPS];
};

static struct gauge *gauge;
static int busy;
static pthread_mutex_t mutex = PTHREAD_MUTEX_INITIALIZER;
static pthread_cond_t never = PTHREAD_COND_INITIALIZER;

static uint64_t now(void) {
  struct timespec t;
  clock_gettime(CLOCK_MONOTONIC, &t);
  return t.tv_sec * 1000000000ull + t.tv_nsec;
}

static void *read_clock(void *unused) {
  volatile long kept = 0;
  uint64_t last = now();
  atomic_fetch_add(&gauge->ready, 1);
  for (unsigned i = 0;; i++) {
    uint64_t t = now();
    if (t - last > SHORTEST_NS) {
      uint64_t n = atomic_load(&gauge->count);
      gauge->gaps[n % GAPS].end_ns = t;
      gauge->gaps[n % GAPS].gap_ns = t - last;
      atomic_store(&gauge->count, n + 1);
    }
    last = t;
    if (i % 64 == 0) kept += answer(i);
  }
  return unused;
}

static void *work(void *unused) {
  volatile unsigned long kept = 0;
  atomic_fetch_add(&gauge->ready, 1);
  for (unsigned long x = 1;; x++) {
    for (int i = 0; i < 1 << 16; i++) x = (x ^ x >> 29) * 0x9E3779B97F4A7C15;
    kept += answer((long)x);
  }
  return unused;
}

static void *wait_for_ever(void *number) {
  volatile char frames[4096]; /* a program's threads have more on their stacks than one call */
  memset((char *)frames, 0, sizeof frames);
  int fd = epoll_create1(0);
  struct epoll_event event;
  atomic_fetch_add(&gauge->ready, 1);
  for (;;) switch ((uintptr_t)number % 3) {
      case 0: pause(); break;
      case 1:
        pthread_mutex_lock(&mutex);
        pthread_cond_wait(&never, &mutex);
        pthread_mutex_unlock(&mutex);
        break;
      default: epoll_wait(fd, &event, 1, -1);
    }
  return number;
}

int main(int argc, char **argv) {
  if (argc != 4) return 2;
  gauge = mmap(0, sizeof *gauge, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_POPULATE, atoi(argv[1]), 0);
  if (gauge == MAP_FAILED) return 1;
  unsigned threads = atoi(argv[2]);
  busy = !strcmp(argv[3], "busy");
  pthread_t thread;
  if (threads == 1) read_clock(0);
  if (pthread_create(&thread, 0, read_clock, 0)) return 1;
  for (uintptr_t i = 2; i < threads; i++)
    if (pthread_create(&thread, 0, busy ? work : wait_for_ever, (void *)i)) return 1;
  atomic_fetch_add(&gauge->ready, 1);
  for (;;) pause();
}
