/* The target of the benchmark of starts: a call of the library, and out. The exit code is the answer. */
#include "work.h"

int main(void) { return (int)answer(1); }
