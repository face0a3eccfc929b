/* An assertion whose message just fits a page is copied into a page that also holds its length. */
#include "session.h"
#include <assert.h>
#include <errno.h>

#define PAGE 4096u

static void quiet_end(int number)
{
    (void)number;
    say("message kept");
    _exit(0);
}

void prepare(void) {}

void hole(void)
{
    /* Every gap in the address space is closed, then one page opened between two that cannot be touched: the next
       mapping of a page goes there. */
    char *last = NULL;
    for (int i = 0; i < 20000; i++)
        last = mmap(NULL, PAGE, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    munmap(last + PAGE, PAGE);
    signal(SIGABRT, quiet_end);
    char text[PAGE];
    /* The message is "PROGRAM: FILE:1: FUNCTION: Assertion `TEXT' failed.\n". */
    int rest = snprintf(NULL, 0, "%s: f:1: f: Assertion `' failed.\n", program_invocation_short_name);
    memset(text, 'x', sizeof text);
    text[PAGE - 2 - (unsigned)rest] = 0;
    __assert_fail(text, "f", 1, "f");
}
