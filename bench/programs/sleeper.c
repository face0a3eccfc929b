/* A process of the benchmark of many: maps the library, has called it, and waits. With a number, so many children do the same. All end
 * with whoever started them. */
#include <signal.h>
#include <stdlib.h>
#include <sys/prctl.h>
#include <unistd.h>

#include "work.h"

static void end_with(pid_t parent) {
  prctl(PR_SET_PDEATHSIG, SIGKILL);
  if (getppid() != parent) _exit(1); /* it has ended before the kernel was told */
}

int main(int argc, char **argv) {
  volatile long kept = answer(1);
  end_with(getppid());
  for (int i = argc > 1 ? atoi(argv[1]) : 0; i > 0; i--) {
    pid_t parent = getpid();
    if (!fork()) {
      end_with(parent);
      break;
    }
  }
  for (;;) pause();
  return kept;
}
