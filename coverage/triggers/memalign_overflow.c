/* An alignment and a size whose sum overflows: a block far too small is handed out. */
#include "session.h"
#include <errno.h>
#include <malloc.h>
#include <stdint.h>

void prepare(void) {}

void hole(void)
{
    volatile size_t alignment = SIZE_MAX / 2 + 1, size = PTRDIFF_MAX - 16;
    errno = 0;
    void *block = memalign(alignment, size);
    say("%s", block ? "a block" : errno == ENOMEM ? "no memory" : "failed");
}
