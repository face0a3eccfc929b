/* Memory for libxml2 that is counted, can fail at one call, and is overwritten when it is freed. */
#ifndef COUNTED_H
#define COUNTED_H

#include <libxml/xmlmemory.h>
#include <malloc.h>
#include <stdlib.h>
#include <string.h>

static long counted_live;      /* blocks allocated and not freed */
static long counted_fail = -1; /* calls until one fails; below zero: none */

static int counted_fails(void) { return counted_fail >= 0 && counted_fail-- == 0; }

static void *counted_malloc(size_t size)
{
    void *block = counted_fails() ? NULL : malloc(size);
    counted_live += block != NULL;
    return block;
}

static void *counted_realloc(void *old, size_t size)
{
    void *block = counted_fails() ? NULL : realloc(old, size);
    counted_live += block != NULL && old == NULL;
    return block;
}

static char *counted_strdup(const char *text)
{
    char *copy = counted_malloc(strlen(text) + 1);
    return copy ? strcpy(copy, text) : NULL;
}

static void counted_free(void *block)
{
    if (block == NULL)
        return;
    memset(block, '!', malloc_usable_size(block));
    counted_live--;
    free(block);
}

static inline void counted_start(void)
{
    if (xmlMemSetup(counted_free, counted_malloc, counted_realloc, counted_strdup) != 0)
        abort();
}

#endif
