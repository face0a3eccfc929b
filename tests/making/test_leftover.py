"""Functions that a fix removes but that a table in a running process still points to."""

from __future__ import annotations

from typing import Any

TABLE = """
#include <stdlib.h>
struct box { long a, b; };
__attribute__((noinline, noclone)) static long weigh(struct box *b, long unit, long lift) {
  long r = lift; for (long n = 0; n < unit; n++) r += b->a * n + b->b; return r;
}
static long by_table(long x) { struct box b = {x, 3}; return weigh(&b, 4, 100); }
struct methods { long (*call)(long); };
struct methods table = { by_table };
struct methods *current = &table;
long plain(long x) { struct box b = {x, 5}; return weigh(&b, 3, 7); }
long through(long x) { return current->call(x); }
"""

FIXED = """
#include <stdlib.h>
struct box { long a, b; };
__attribute__((noinline, noclone)) static long weigh(struct box *b, long unit) {
  long r = 0; for (long n = 0; n < unit; n++) r += b->a * n - b->b; return r;
}
struct methods { long (*call)(long); };
struct methods table = { NULL };
struct methods *current = &table;
long plain(long x) { struct box b = {x, 5}; return weigh(&b, 3); }
long through(long x) { return current->call(x); }
"""


def test_a_callee_whose_removed_caller_stays_in_a_table_is_refused(package: Any) -> None:
    made = package(TABLE, FIXED, "plain through")
    refused = {r.function: r.reason for r in made.refused()}
    assert "by_table" in refused["weigh"]
    assert "together" in refused["plain"]
