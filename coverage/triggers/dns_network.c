/* The name of network 0.0.0.0 is asked for with a question that was never written: the stack goes out as it is. */
#include "session.h"
#include "name_server.h"

/* Leaves the text where the next calls have their frames. */
static void __attribute__((noinline)) used_stack(void)
{
    char frame[32768];
    for (size_t i = 0; i < sizeof frame - 1; i++)
        frame[i] = "secret."[i % 7];
    frame[sizeof frame - 1] = 0;
    for (size_t i = 63; i < sizeof frame; i += 64)
        frame[i] = 0; /* a name has an end */
    __asm__ volatile("" : : "r"(frame) : "memory");
}

void prepare(void) {}

void hole(void)
{
    unsigned char asked[256] = {0};
    name_server_start(NULL, 0, 0, 0);
    fcntl(name_server_asked[0], F_SETFL, O_NONBLOCK);
    getnetbyaddr(127, AF_INET); /* loads what a first look-up loads */
    if (read(name_server_asked[0], asked, sizeof asked) <= 0)
        abort();
    memset(asked, 0, sizeof asked);
    used_stack();
    getnetbyaddr(0, AF_INET);
    ssize_t size = read(name_server_asked[0], asked, sizeof asked);
    if (size > 0 && memmem(asked, sizeof asked, "secret", 6))
        say("asked for what the stack held");
    else if (size > 0 && memcmp(asked, "\1" "0\1" "0\1" "0\1" "0\7in-addr\4arpa", 22) == 0)
        say("asked for 0.0.0.0.in-addr.arpa");
    else
        say("asked for something else");
}
