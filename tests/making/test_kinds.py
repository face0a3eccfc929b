"""Kinds of code that the test suites of libcare and libpulp cover, as fixes of source, at -O0 and -O2; the running
program is the judge.

One program holds all of them. docs/results/peers.md lists them with what else those suites try, and is checked here.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).parents[2]
PEERS = ROOT / "docs/results/peers.md"


@dataclass(frozen=True)
class Case:
    """One function `long NAME(long)` with what it needs, in the unit `unit`; `calls` are (argument, answer before,
    answer after)."""

    unit: str
    text: str
    fix: tuple[str, str]
    calls: tuple[tuple[int, int, int], ...]


HEADS = {
    "values.c": "#include <stdarg.h>\n#include <stdlib.h>\n#include <string.h>\n#include <complex.h>\n",
    "state.c": "#include <string.h>\n#include <stdio.h>\n#include <errno.h>\n",
    "flow.c": "#define _GNU_SOURCE\n#include <dlfcn.h>\n#include <setjmp.h>\n#include <signal.h>\n#include <stdlib.h>\n"
    "#include <string.h>\n#include <sys/mman.h>\n#include <unistd.h>\n",
    "thread.c": (
        "#define _GNU_SOURCE\n#include <errno.h>\n#include <pthread.h>\n#include <semaphore.h>\n#include <signal.h>\n"
        "#include <unistd.h>\n"
    ),
    "raise.cc": '#include <stdexcept>\n#include <string>\n#include <vector>\n#define C extern "C" long\n',
}
N = "__attribute__((noinline)) "
CASES = {
    "ten_integers": Case(
        "values.c",
        f"{N} static long ten(long a, long b, long c, long d, long e, long f, long g, long h, long i, long j) {{ "
        "return a + 2*b + 3*c + 4*d + 5*e + 6*f + 7*g + 8*h + 9*i + 10*j; }\n"
        "long ten_integers(long x) { return ten(x, 1, 2, 3, 4, 5, 6, 7, 8, 9); }\n",
        ("10*j; }", "1000*j + a; }"),
        ((1, 331, 331 + 8910 + 1),),
    ),
    "ten_doubles": Case(
        "values.c",
        f"{N} static double dten(double a, double b, double c, double d, double e, double f, double g, double h, "
        "double i, double j, int k) { return a + b * 2 + c + d + e + f + g + h + i * 3 + j * k; }\n"
        "long ten_doubles(long x) { return dten(x, .5, 1, 1, 1, 1, 1, 1, 2, 3, (int)x) * 10; }\n",
        ("i * 3 + j * k", "i * 4 + j * k * 2"),
        ((2, 210, 290),),
    ),
    "structures": Case(
        "values.c",
        f"struct small {{ int a; double b; }}; struct large {{ long v[9]; char c[7]; }};\n{N} static struct large "
        "make(struct small s, struct large l, long n) { l.v[8] = s.a + (long)s.b + n; l.c[3] = 'x'; return l; }\n"
        "long structures(long x) { struct small s = {3, 2.5}; struct large l = {{x, x}, \"abcdef\"};\n"
        "  struct large r = make(s, l, x); return r.v[8] * 1000 + r.v[1] + r.c[3] + l.c[3]; }\n",
        ("s.a + (long)s.b + n;", "s.a * 10 + (long)(s.b * 2) + n;"),
        ((4, 9 * 1000 + 4 + 120 + 100, 39 * 1000 + 4 + 120 + 100),),
    ),
    "variadic": Case(
        "values.c",
        f"{N} static long total(const char *f, ...) {{ va_list l; long r = 0; va_start(l, f); for (; *f; f++)\n"
        "  r += *f == 'd' ? va_arg(l, int) : (long)(va_arg(l, double) * 2); va_end(l); return r; }\n"
        'long variadic(long x) { return total("dfdfdfdfdfdf", 1, .5, 2, 1.5, 3, 2.5, 4, 3.5, 5, 4.5, (int)x, 5.5); }\n',
        ("* 2); va_end(l); return r;", "* 4); va_end(l); return r + 1;"),
        ((6, 21 + 36, 21 + 72 + 1),),
    ),
    "wide_values": Case(
        "values.c",
        f"{N} static long double wide(long double a, __int128 b, double complex c) {{ return a * 2 + (long)(b >> 64) "
        "+ creal(c) - cimag(c); }\nlong wide_values(long x) { return (long)(wide(x + 0.25L, (__int128)7 << 64, 5 "
        "+ 2 * I) * 4); }\n",
        ("a * 2 +", "a * 3 +"),
        ((3, 66, 79),),
    ),
    "red_zone": Case(
        "values.c",
        f"{N} static long leaf(long x) {{ volatile long a[6]; for (int i = 0; i < 6; i++) a[i] = x * i; return a[5] "
        "+ a[2]; }\nlong red_zone(long x) { return leaf(x); }\n",
        ("a[5] + a[2]", "a[5] * a[4]"),
        ((3, 21, 180),),
    ),
    "own_stack_size": Case(
        "values.c",
        f"{N} static long vla(long n) {{ char b[n]; memset(b, 1, n); char *c = __builtin_alloca(n); memset(c, 2, n); "
        "return b[n - 1] + c[0]; }\nlong own_stack_size(long x) { return vla(x); }\n",
        ("b[n - 1] + c[0]", "b[0] + c[n - 1] * 100"),
        ((5000, 3, 201),),
    ),
    "tables": Case(
        "values.c",
        'static const char *const words[] = {"one", "two", "three"};\n'
        'long tables(long x) { switch (x) { case 0: return strlen("zero"); case 1: return words[1][0]; case 2: '
        'return 12; case 3: return 13;\n'
        "  case 4: return strlen(words[2]); case 5: return 15; } return -1; }\n",
        ("case 5: return 15;", 'case 5: return 16; case 6: return strlen("a new string");'),
        ((0, 4, 4), (1, 116, 116), (4, 5, 5), (5, 15, 16), (6, -1, 12)),
    ),
    "static_local": Case(
        "state.c",
        "long static_local(long x) { static long n = 5; static char text[8]; n += x; strcpy(text, \"ab\"); return n "
        "* 10 + text[0]; }\n",
        ("n * 10 + text[0]", "n * 100 + text[1]"),
        ((1, 60 + 97, 700 + 98),),
    ),
    "thread_local": Case(
        "state.c",
        "static __thread long own = 3; __thread long shown = 4;\n"
        "long thread_local(long x) { own += x; shown += 1; errno = (int)own; return own * 10 + shown; }\n",
        ("own * 10 + shown;", "own * 100 + shown + errno;"),
        ((1, 45, 500 + 6 + 5),),
    ),
    "variables": Case(
        "state.c",
        "long global_count = 7; static long local_count; extern long values_of_another(void); long *where(void) { "
        "return &global_count; }\nlong variables(long x) { global_count += x; local_count++; return *where() * 10 + "
        "local_count; }\n",
        ("*where() * 10 + local_count", "*where() * 100 + local_count + (where() == &global_count)"),
        ((1, 81, 903),),
    ),
    "new_function": Case(
        "state.c",
        "long new_function(long x) { return x * 3 + 1; }\n",
        (
            "long new_function(long x) {",
            f"static long added; long new_global = 9;\n{N} static long helper(long x) {{ added += x; return added + "
            "new_global; }\nlong new_function(long x) { if (x > 0) return helper(x);",
        ),
        ((2, 7, 11), (0, 1, 1)),
    ),
    "c_library": Case(
        "state.c",
        'long c_library(long x) { char b[40]; return sprintf(b, "%ld", x * 1000); }\n',
        ('sprintf(b, "%ld", x * 1000);', 'snprintf(b, 3, "%ld", x * 1000) + (strtok(b, ",") == b) * 10;'),
        ((7, 4, 14),),
    ),
    "recursion": Case(
        "flow.c",
        f"{N} static long fact(long n) {{ return n < 2 ? 1 : n * fact(n - 1); }}\n"
        f"long recursion(long x) {{ return fact(x); }}\n",
        ("n * fact(n - 1)", "n + fact(n - 1)"),
        ((5, 120, 15),),
    ),
    "mutual_recursion": Case(
        "flow.c",
        f"static long odd(long); {N} static long even(long n) {{ return n == 0 ? 100 : odd(n - 1); }}\n{N} static "
        "long odd(long n) { return n == 0 ? 200 : even(n - 1) + 1; }\n"
        "long mutual_recursion(long x) { return even(x); }\n",
        ("even(n - 1) + 1", "even(n - 1) + 10"),
        ((6, 103, 130), (5, 202, 220)),
    ),
    "callback": Case(
        "flow.c",
        "static int order(const void *a, const void *b) { return *(const int *)a - *(const int *)b; }\n"
        "long callback(long x) { int v[] = {3, 1, 2}; qsort(v, 3, sizeof *v, order); return v[0] * 100 + v[1] * 10 "
        "+ v[2]; }\n",
        ("*(const int *)a - *(const int *)b", "*(const int *)b - *(const int *)a"),
        ((0, 123, 321),),
    ),
    "pointer_in_memory": Case(
        "flow.c",
        "static long run(long x) { return x + 1; }\nstatic long (*volatile kept)(long);\n"
        "long pointer_in_memory(long x) { if (!kept) kept = run; return kept(x) * (kept == run); }\n",
        ("return x + 1;", "return x + 2;"),
        ((5, 6, 7),),
    ),
    "own_name": Case(
        "flow.c",
        "long looked_up(long x) { return x * 2; }\n"
        'long own_name(long x) { long (*f)(long) = (long (*)(long))dlsym(RTLD_DEFAULT, "looked_up"); return f ? f(x) '
        ': looked_up(x); }\n',
        ("return x * 2;", "return x * 5;"),
        ((4, 8, 20),),
    ),
    "long_jump": Case(
        "flow.c",
        f"static jmp_buf home; {N} static void jump(long n) {{ longjmp(home, (int)n + 1); }}\n"
        "long long_jump(long x) { int v = setjmp(home); if (!v) jump(x); return v; }\n",
        ("(int)n + 1", "(int)n + 10"),
        ((3, 4, 13),),
    ),
    "signal_handler": Case(
        "flow.c",
        "static volatile long handled; static void handle(int n) { handled += 1; }\n"
        "long signal_handler(long x) { signal(SIGUSR1, handle); handled = 0; raise(SIGUSR1); raise(SIGUSR1); return "
        "handled; }\n",
        ("handled += 1", "handled += 10"),
        ((0, 2, 20),),
    ),
    "alternate_stack": Case(
        "flow.c",
        "static volatile long on_alternate; static char other_stack[65536];\n"
        "static void handle_there(int n) { char here; on_alternate = &here >= other_stack && &here < other_stack + "
        "65536; }\nlong alternate_stack(long x) { stack_t s = {.ss_sp = other_stack, .ss_size = sizeof "
        "other_stack}; sigaltstack(&s, 0);\n  struct sigaction a = {.sa_handler = handle_there, .sa_flags = "
        "SA_ONSTACK}; sigaction(SIGUSR2, &a, 0); raise(SIGUSR2); return on_alternate; }\n",
        ("&here < other_stack + 65536;", "&here < other_stack + 65536 ? 5 : 6;"),
        ((0, 1, 5),),
    ),
    "memory_protection": Case(
        "flow.c",
        "long memory_protection(long x) { char *p = mmap(0, 4096, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);\n"
        "  mprotect(p, 4096, PROT_READ | PROT_WRITE); p[0] = (char)x; long r = p[0]; munmap(p, 4096); return r; }\n",
        ("long r = p[0];", "long r = p[0] + p[1] + 30;"),
        ((9, 9, 39),),
    ),
    "weak_and_alias": Case(
        "flow.c",
        f"__attribute__((weak)) long weak_step(long x) {{ return x + 1; }}\n{N} long real_step(long x) {{ return x + "
        "2; }\nlong other_step(long x) __attribute__((alias(\"real_step\")));\n"
        "long weak_and_alias(long x) { return weak_step(x) * 100 + other_step(x); }\n",
        ("x + 2", "x + 20"),
        ((1, 203, 221),),
    ),
    "in_many_threads": Case(
        "thread.c",
        f"static long seen[4]; {N} static long answer(long n) {{ __asm__ volatile(\"\"); return n * 2 + 1; }}\n"
        "static void *ask_on(void *a) { for (;;) { __atomic_store_n(&seen[(long)a], answer(5), 5); usleep(1000); "
        "} return 0; }\nlong in_many_threads(long x) { static long begun; pthread_t t; if (!begun++) for (long i "
        "= 0; i < 4; i++) pthread_create(&t, 0, ask_on, (void *)i);\n"
        "  usleep(60000); long r = 0; for (int i = 0; i < 4; i++) r += __atomic_load_n(&seen[i], 5); return r; }\n",
        ("n * 2 + 1", "n * 2 + 2"),
        ((0, 44, 48),),
    ),
    "blocked_in_a_call": Case(
        "thread.c",
        "static int pipes[2]; static volatile long interrupted, got; static pthread_t waiter;\n"
        f"{N} static long digest(long c) {{ return c * 3; }}\n"
        "static void *wait_on(void *a) { char c; while (read(pipes[0], &c, 1) != 1) interrupted++; got = digest(c); "
        "return 0; }\n"
        "long blocked_in_a_call(long x) { if (x) { pipe(pipes); pthread_create(&waiter, 0, wait_on, 0); "
        "usleep(20000); return 0; }\n"
        '  write(pipes[1], "a", 1); pthread_join(waiter, 0); return got * 10 + interrupted; }\n',
        ("c * 3", "c * 4"),
        ((1, 0, 0), (0, 2910, 3880)),
    ),
    "blocked_across": Case(
        "thread.c",
        f"static sem_t gate; static volatile long failed, across; static pthread_t sleeper;\n{N} static long "
        "weigh(long c) { return c + 3; }\nstatic void *sleep_on(void *a) { while (sem_wait(&gate)) failed++; "
        "across = weigh(1); return 0; }\nlong blocked_across(long x) { if (x) { sem_init(&gate, 0, 0); "
        "pthread_create(&sleeper, 0, sleep_on, 0); usleep(20000); return 0; }\n"
        "  sem_post(&gate); pthread_join(sleeper, 0); return across * 10 + failed; }\n",
        ("c + 3", "c + 5"),
        ((0, 40, 60),),
    ),
    "cancelled": Case(
        "thread.c",
        f"static volatile long cleaned; static void clean(void *a) {{ cleaned = (long)a; }}\n{N} static void "
        "doze(long n) { pthread_cleanup_push(clean, (void *)(n + 1)); for (;;) usleep(1000000); "
        "pthread_cleanup_pop(0); }\nstatic void *to_cancel(void *a) { doze((long)a); return 0; }\n"
        "long cancelled(long x) { pthread_t t; cleaned = 0; pthread_create(&t, 0, to_cancel, (void *)x); "
        "usleep(20000); pthread_cancel(t);\n  void *r; pthread_join(t, &r); return cleaned * 10 + (r == "
        "PTHREAD_CANCELED); }\n",
        ("(void *)(n + 1)", "(void *)(n + 2)"),
        ((4, 51, 61),),
    ),
    "thrown": Case(
        "raise.cc",
        f"{N} static long risky(long x) {{ if (x > 5) throw std::runtime_error(\"too \" + std::to_string(x)); return "
        "x; }\nC thrown(long x) { try { return risky(x); } catch (const std::exception &e) { return "
        "-(long)std::string(e.what()).size(); } }\n",
        ('"too "', '"far too "'),
        ((3, 3, 3), (12, -6, -10)),
    ),
    "passed_through": Case(
        "raise.cc",
        f"static long alive; struct Guard {{ Guard() {{ alive++; }} ~Guard() {{ alive--; }} }};\n{N} static void "
        f"deep(long x) {{ Guard g; if (x) throw x; }}\n{N} static long middle(long x) {{ Guard g; deep(x); return "
        "alive; }\nC passed_through(long x) { try { return middle(x); } catch (long v) { return v * 10 + "
        "alive; } }\n",
        ("Guard g; deep(x); return alive;", "Guard g, h; deep(x + 1); return alive + 100;"),
        ((2, 20, 30),),
    ),
    "virtual_call": Case(
        "raise.cc",
        "struct Shape { virtual long area(long) const { return 1; } virtual ~Shape() {} };\n"
        "struct Square : Shape { long area(long x) const override { return x * x; } };\n"
        "C virtual_call(long x) { static Shape *kept = new Square; std::vector<Shape *> v{kept}; return "
        "v[0]->area(x); }\n",
        ("return x * x;", "return x * x * x;"),
        ((3, 9, 27),),
    ),
}  # fmt: skip


@pytest.fixture(params=["-O0", "-O2"])
def level(request: pytest.FixtureRequest) -> str:
    return str(request.param)


def sources(cases: dict[str, Case], fixed: bool) -> dict[str, str]:
    files = dict(HEADS)
    for name, case in cases.items():
        assert case.text.count(case.fix[0]) == 1, name
        files[case.unit] += case.text.replace(*case.fix) if fixed else case.text
    return files


def answers(target: Any, after: bool) -> Iterator[tuple[str, int, int, int]]:
    for name, case in CASES.items():
        for argument, old, new in case.calls:
            yield name, argument, target.ask(name, argument), new if after else old


@pytest.mark.parametrize("shape", ["library", "pie"])
def test_every_kind_runs_the_new_code_and_the_old_again(package: Any, level: str, shape: str) -> None:
    """`blocked_across` is told to wait before the patch goes in, so that it is blocked in a call while it does."""
    rows = (sources(CASES, fixed) for fixed in (False, True))
    made = package(*rows, " ".join(CASES), shape, (level, "-fstack-protector-strong"), ("-pthread",), ("-pthread",))
    patch = made.patch()
    target = made.start()
    state = {"static_local", "thread_local", "variables"}  # what they hold changes with each call
    target.ask("blocked_across", 1)
    assert [r for r in answers(target, False) if r[2] != r[3]] == []
    target.ask("blocked_across", 1)
    target.apply(patch)
    assert [r for r in answers(target, True) if r[2] != r[3]] == []
    target.ask("blocked_across", 1)
    target.revert(patch)
    assert [r for r in answers(target, False) if r[2] != r[3] and r[0] not in state] == []
    target.ask("blocked_across", 1)
    target.apply(patch)
    assert [r for r in answers(target, True) if r[2] != r[3] and r[0] not in {*state, "new_function"}] == []


def test_the_table_of_kinds_names_every_case_and_tests_that_exist() -> None:
    rows = [line for line in PEERS.read_text().splitlines() if line.startswith("| ") and "`" in line]
    named = {word for line in rows for word in re.findall(r"`([a-z_]+)`", line.split("|")[1])}
    assert named >= CASES.keys()
    for path, test in re.findall(r"`(tests/[a-z_/]+\.py)::(test_\w+)`", PEERS.read_text()):
        assert f"def {test}(" in (ROOT / path).read_text(), (path, test)
    assert not [
        line for line in rows if "tests/" not in line and "made new" not in line and "not a question" not in line
    ]
