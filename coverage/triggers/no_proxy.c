/* The host of an IPv6 address is copied without an end: what the stack holds behind it is compared too. */
#include "session.h"
#include <openssl/http.h>

/* Leaves the letter A where the next calls have their frames. */
static void __attribute__((noinline)) used_stack(void)
{
    volatile char frame[8192];
    for (size_t i = 0; i < sizeof frame; i++)
        frame[i] = 'A';
}

void prepare(void) {}

void hole(void)
{
    used_stack();
    const char *proxy = OSSL_HTTP_adapt_proxy("http://proxy", "[::1],::1", "[::1]", 0);
    say("%s", proxy ? "proxy used for an excluded host" : "excluded host gets no proxy");
}
