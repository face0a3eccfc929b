/* A process of the benchmark of many: maps the library, has called it, and waits. With a number, so many children do the same. */
#include <stdlib.h>
#include <unistd.h>

#include "work.h"

int main(int argc, char **argv) {
  volatile long kept = answer(1);
  for (int i = argc > 1 ? atoi(argv[1]) : 0; i > 0; i--)
    if (!fork()) break;
  for (;;) pause();
  return kept;
}
