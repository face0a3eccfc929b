/* No trigger: a process that has the library in it, for fixes whose hole is out of reach here. */
#include "session.h"
#include <iconv.h>

void prepare(void)
{
    iconv_open("UCS-4LE", "ANSI_X3.110"); /* one of the C library's modules, for the fix of it */
}

void hole(void) { say("no trigger"); }
