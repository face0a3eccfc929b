/* The target of the call benchmark: for each line "BLOCKS" on standard input it times that many blocks of CALLS calls of
   `answer` and, in turn, of the same loop without the call, and prints nanoseconds "with without" for each block. */
#define _GNU_SOURCE
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

#include "work.h"

#define CALLS 200000

static uint64_t now(void) {
  struct timespec t;
  clock_gettime(CLOCK_MONOTONIC, &t);
  return t.tv_sec * 1000000000ull + t.tv_nsec;
}

__attribute__((noinline)) static uint64_t with(void) {
  long x = 1;
  uint64_t begin = now();
  for (int i = 0; i < CALLS; i++) {
    x = answer(x);
    __asm__ volatile("" : "+r"(x));
  }
  return now() - begin;
}

__attribute__((noinline)) static uint64_t without(void) {
  long x = 1;
  uint64_t begin = now();
  for (int i = 0; i < CALLS; i++) __asm__ volatile("" : "+r"(x));
  return now() - begin;
}

int main(void) {
  int blocks;
  with();
  while (scanf("%d", &blocks) == 1) {
    printf("%d %ld\n", CALLS, answer(1));
    for (int i = 0; i < blocks; i++) {
      uint64_t a = with(), b = without();
      printf("%lu %lu\n", a, b);
    }
    fflush(stdout);
  }
}
