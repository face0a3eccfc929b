/* The target of the soak: threads that check every answer, while others are born and end and signals arrive.

   soak FD WORKERS

   FD is a memfd laid out as `struct counts`. Each caller of `both` knows the answers of all three versions; a left half of
   one version with a right half of another is a mix, anything else is wrong. Real-time signals queue, so each that is sent
   must be handled exactly once; the handler calls `both` too. */
#define _GNU_SOURCE
#include <errno.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <time.h>
#include <unistd.h>

#include "work.h"

#define VERSIONS 3
#define MOST_WORKERS 64

struct counts {
  _Atomic uint64_t stop, seen[VERSIONS], mixed, wrong, sent, handled, born, finished;
};

static struct counts *counts;
static pthread_t workers[MOST_WORKERS];
static int count_of_workers;
static _Atomic int all_sent;

static unsigned long half(unsigned long x, int shift, unsigned long factor, int version) {
  for (int i = 0; i < ROUNDS; i++) x = (x ^ x >> shift) * factor + (2 * version + 1);
  return x;
}

static void check(unsigned long x) {
  struct both got = both(x);
  int left = 0, right = 0;
  for (int v = 1; v <= VERSIONS; v++) {
    if (got.left == half(x + v, 29, 0x9E3779B97F4A7C15, v)) left = v;
    if (got.right == half(x - v, 31, 0xBF58476D1CE4E5B9, v)) right = v;
  }
  if (!left || !right) atomic_fetch_add(&counts->wrong, 1);
  else if (left != right) atomic_fetch_add(&counts->mixed, 1);
  else atomic_fetch_add(&counts->seen[left - 1], 1);
}

static void handle(int number) {
  int kept = errno;
  check(number + atomic_fetch_add(&counts->handled, 1));
  errno = kept;
}

static void rest(long nanoseconds) {
  struct timespec t = {0, nanoseconds};
  while (nanosleep(&t, &t) && errno == EINTR) {
  }
}

static void *work(void *seed) {
  for (unsigned long x = (uintptr_t)seed; !atomic_load(&all_sent); x += 0x10001) {
    check(x);
    if (x % 16 == 0) rest(100000);
  }
  return 0;
}

static void *short_life(void *seed) {
  for (int i = 0; i < 4; i++) check((uintptr_t)seed * 4 + i);
  atomic_fetch_add(&counts->finished, 1);
  return 0;
}

static void *bear(void *unused) {
  for (uintptr_t n = 1; !atomic_load(&counts->stop); n++) {
    pthread_t thread[3];
    int born = 0;
    for (; born < 3; born++)
      if (pthread_create(&thread[born], 0, short_life, (void *)(n + born))) break;
    atomic_fetch_add(&counts->born, born);
    for (int i = 0; i < born; i++) pthread_join(thread[i], 0);
    rest(500000);
  }
  return unused;
}

static void *send_signals(void *unused) {
  union sigval none = {0};
  for (int n = 0; !atomic_load(&counts->stop); n++) {
    if (!pthread_sigqueue(workers[n % count_of_workers], SIGRTMIN, none)) atomic_fetch_add(&counts->sent, 1);
    rest(300000);
  }
  return unused;
}

int main(int argc, char **argv) {
  if (argc != 3) return 2;
  counts = mmap(0, sizeof *counts, PROT_READ | PROT_WRITE, MAP_SHARED, atoi(argv[1]), 0);
  if (counts == MAP_FAILED) return 1;
  count_of_workers = atoi(argv[2]);
  if (count_of_workers < 1 || count_of_workers > MOST_WORKERS) return 2;
  struct sigaction action = {.sa_handler = handle, .sa_flags = SA_RESTART};
  sigaction(SIGRTMIN, &action, 0);
  pthread_t parent, sender;
  for (uintptr_t i = 0; i < (uintptr_t)count_of_workers; i++)
    if (pthread_create(&workers[i], 0, work, (void *)(i * 7919 + 1))) return 1;
  if (pthread_create(&parent, 0, bear, 0) || pthread_create(&sender, 0, send_signals, 0)) return 1;
  pthread_join(parent, 0);
  pthread_join(sender, 0);
  atomic_store(&all_sent, 1); /* a worker that ended before would leave a signal unhandled */
  for (int i = 0; i < count_of_workers; i++) pthread_join(workers[i], 0);
  return 0;
}
