/* OpenSSL's allocator, with blocks of one chosen size beside a page without access. */
#ifndef GUARDED_OPENSSL_H
#define GUARDED_OPENSSL_H

#include "guard.h"
#include <openssl/crypto.h>

static size_t guarded_size;    /* blocks of this size are guarded; zero: none */
static int guarded_is_before;  /* the page lies before the block instead of behind it */
static void *guarded_blocks[64]; /* never given back */
static size_t guarded_count;

static void *guarded_malloc(size_t size, const char *file, int line)
{
    (void)file, (void)line;
    if (size == 0 || size != guarded_size || guarded_count == sizeof guarded_blocks / sizeof *guarded_blocks)
        return malloc(size ? size : 1);
    return guarded_blocks[guarded_count++] = guarded_is_before ? guarded_before(size) : guarded_behind(size);
}

static void guarded_free(void *block, const char *file, int line)
{
    (void)file, (void)line;
    for (size_t i = 0; i < guarded_count; i++)
        if (block == guarded_blocks[i])
            return;
    free(block);
}

static void *guarded_realloc(void *block, size_t size, const char *file, int line)
{
    (void)file, (void)line;
    return realloc(block, size); /* no trigger resizes a guarded block */
}

/* Must come before any other use of libcrypto. */
static inline void guarded_start(void)
{
    if (!CRYPTO_set_mem_functions(guarded_malloc, guarded_realloc, guarded_free))
        abort();
}

#endif
