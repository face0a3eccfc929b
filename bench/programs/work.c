/* The library whose functions are replaced. VERSION 1 is what runs; 2 and 3 are fixes of it.

   `answer` is a short function, for the cost of a call. `both`, `left` and `right` belong together: a caller must never see
   one version's left beside another's right. */
#include "work.h"

#ifndef VERSION
#define VERSION 1
#endif
#define FACTOR (2 * VERSION + 1)

long answer(long x) { return x * FACTOR + 1; }

/* noipa: each keeps its own code and call, as functions of separate files do. */
__attribute__((noipa, visibility("hidden"))) unsigned long left(unsigned long x) {
  for (int i = 0; i < ROUNDS; i++) x = (x ^ x >> 29) * 0x9E3779B97F4A7C15 + FACTOR;
  return x;
}

__attribute__((noipa, visibility("hidden"))) unsigned long right(unsigned long x) {
  for (int i = 0; i < ROUNDS; i++) x = (x ^ x >> 31) * 0xBF58476D1CE4E5B9 + FACTOR;
  return x;
}

struct both both(unsigned long x) {
  struct both result;
  result.left = left(x + VERSION);
  result.right = right(x - VERSION);
  return result;
}
