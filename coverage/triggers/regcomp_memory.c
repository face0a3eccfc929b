/* Memory runs out at each allocation of regcomp in turn: a set of characters is freed twice. */
#include "session.h"
#include <regex.h>
#include <stdint.h>

/* The process's own allocator: never gives back, so that a second free is seen. */
static char pool[8 << 20] __attribute__((aligned(16)));
static size_t used;
static long fail = -1;
static int twice;

void *malloc(size_t size)
{
    if (fail >= 0 && fail-- == 0)
        return NULL;
    size_t room = (size + 31) / 16 * 16;
    if (used + room > sizeof pool)
        return NULL;
    size_t *head = (size_t *)(pool + used);
    head[0] = size;
    head[1] = 0; /* 1: freed */
    used += room;
    return head + 2;
}

void free(void *block)
{
    if (block == NULL)
        return;
    size_t *head = (size_t *)block - 2;
    twice += head[1] != 0;
    head[1] = 1;
}

void *calloc(size_t count, size_t size)
{
    void *block = malloc(count * size);
    return block ? memset(block, 0, count * size) : NULL;
}

void *realloc(void *old, size_t size)
{
    void *block = malloc(size);
    if (block && old) {
        size_t before = ((size_t *)old)[-2];
        memcpy(block, old, before < size ? before : size);
        free(old);
    }
    return block;
}

void prepare(void) {}

void hole(void)
{
    char pattern[200] = "";
    for (int length = 0; length < 40; length++) {
        for (long at = 0; at < 60; at++) {
            regex_t compiled;
            size_t mark = used;
            sprintf(pattern, "%.*s[ab]", length, "xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx");
            fail = at;
            if (regcomp(&compiled, pattern, 0) == 0)
                regfree(&compiled);
            fail = -1;
            used = mark;
        }
    }
    say("%s", twice ? "freed twice" : "freed once");
}
