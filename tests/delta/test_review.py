"""What a person should look at: calls that are counted in pairs, and calls that may wait."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from suture.delta.atom import AtomObject
from suture.delta.change import UnitChange
from suture.delta.compare import difference
from suture.delta.review import kind_of, reviews
from suture.elf.file import ElfFile

HEAD = """
#include <pthread.h>
#include <unistd.h>
static pthread_mutex_t lock; extern int work(int); void obj_unref(void *); void *obj_ref(void *);
"""


def change(folder: Path, old: str, new: str) -> UnitChange:
    objects = []
    for name, body in (("old", old), ("new", new)):
        source = folder / f"{name}.c"
        source.write_text(HEAD + body)
        flags = ["-O2", "-fPIC", "-ffunction-sections", "-fdata-sections", "-c"]
        subprocess.run(["gcc", *flags, "-o", folder / f"{name}.o", source], check=True)
        objects.append(AtomObject(ElfFile.read(folder / f"{name}.o")))
    old_one, new_one = objects
    return UnitChange("x.c", "x.o", old_one, new_one, difference(old_one, new_one), None)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("old", "new", "found"),
    [
        ("return work(a);", "if (a < 0) return 0; return work(a);", []),
        (
            "return work(a);",
            "if (a < 0) return -1; return work(a);",
            ["may return -1, no error code of its own before"],
        ),
        ("return a > 9 ? -22 : work(a);", "if (a < 0) return -1; return a > 9 ? -22 : work(a);", []),
        ("return a > 9 ? -22 : work(a);", "return a > 9 ? -5 : work(a);", ["may return -5, -22 no more"]),
        (
            "return work(a);",
            "pthread_mutex_lock(&lock); a = work(a); pthread_mutex_unlock(&lock); return a;",
            ["calls pthread_mutex_lock once, never before", "calls pthread_mutex_unlock once, never before"],
        ),
        ("obj_unref(p); return work(a);", "return work(a) + 1;", ["calls obj_unref never, once before"]),
        ("return work(a);", "usleep(10); return work(a);", ["calls usleep once, never before"]),
        ("usleep(10); return work(a);", "return work(a);", []),
        ("pthread_mutex_lock(&lock); return work(a);", "pthread_mutex_lock(&lock); return work(a + 1);", []),
    ],
)
def test_a_function_is_named_with_the_call_whose_count_changed(
    tmp_path: Path, old: str, new: str, found: list[str]
) -> None:
    body = "int f(int a, void *p) { %s }\n"
    assert [r.what for r in reviews([change(tmp_path, body % old, body % new)])] == found


def test_what_was_inlined_counts_where_it_is(tmp_path: Path) -> None:
    old = "static inline int g(int a) { return work(a); } int f(int a) { return g(a) + 1; }\n"
    new = old.replace("return work(a);", "pthread_mutex_lock(&lock); return work(a);")
    (row,) = reviews([change(tmp_path, old, new)])
    assert (row.function, row.kind, row.file) == ("f", "lock", "x.c")


@pytest.mark.parametrize(
    ("name", "kind"),
    [
        ("pthread_mutex_lock", "lock"), ("CRYPTO_THREAD_write_lock",
        "lock"), ("LWLockAcquire", "lock"), ("g_mutex_unlock", "lock"),
        ("sem_wait", "lock"), ("xmlMutexUnlock", "lock"), ("_raw_spin_lock_irqsave", "lock"), ("rcu_read_unlock",
        "lock"),
        ("EVP_PKEY_up_ref", "reference"), ("g_object_unref",
        "reference"), ("Py_IncRef", "reference"), ("of_node_put", "reference"),
        ("pthread_cond_wait", "wait"), ("poll", "wait"), ("pthread_create", "start"),
        ("block_size", ""), ("xmlUnlink", ""), ("prefetch", ""), ("clock_gettime", ""), ("reflect", ""), ("blocked",
        ""), ("memcpy", ""),
    ],
)  # fmt: skip
def test_names_are_told_by_their_words(name: str, kind: str) -> None:
    assert kind_of(name) == kind


def test_an_error_code_of_a_function_that_no_other_file_calls_is_none(tmp_path: Path) -> None:
    old = "__attribute__((noinline)) static int g(int a) { return work(a); } int f(int a) { return g(a) > 0; }\n"
    assert reviews([change(tmp_path, old, old.replace("return work(a);", "if (a) return -1; return work(a);"))]) == ()
