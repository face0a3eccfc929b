/* Memory that ends (or begins) at a page that cannot be touched: an access past it ends the process. */
#ifndef GUARD_H
#define GUARD_H

#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#define GUARD_PAGE 4096u

/* `size` bytes whose last byte lies just before a page without access. */
static inline void *guarded_behind(size_t size)
{
    size_t room = (size + GUARD_PAGE - 1) / GUARD_PAGE * GUARD_PAGE;
    char *base = mmap(NULL, room + GUARD_PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (base == MAP_FAILED || mprotect(base + room, GUARD_PAGE, PROT_NONE) != 0)
        abort();
    return base + room - size;
}

/* `size` bytes whose first byte lies just behind a page without access. */
static inline void *guarded_before(size_t size)
{
    size_t room = (size + GUARD_PAGE - 1) / GUARD_PAGE * GUARD_PAGE;
    char *base = mmap(NULL, room + GUARD_PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (base == MAP_FAILED || mprotect(base, GUARD_PAGE, PROT_NONE) != 0)
        abort();
    return base + GUARD_PAGE;
}

#endif
