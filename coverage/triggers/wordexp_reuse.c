/* Words from an earlier expansion are counted again after they were freed. */
#include "session.h"
#include <wordexp.h>

void prepare(void) {}

void hole(void)
{
    wordexp_t words = {0};
    wordexp("one two", &words, 0);
    wordexp("three", &words, WRDE_REUSE | WRDE_APPEND);
    say("%zu words", words.we_wordc);
}
