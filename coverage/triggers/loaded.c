/* No trigger: a process that has the library in it, for fixes whose hole is out of reach here. */
#include "session.h"

void prepare(void) {}

void hole(void) { say("no trigger"); }
