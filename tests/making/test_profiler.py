"""perf over a patched function: what it finds beyond the frame, and what it can name."""

from __future__ import annotations

import subprocess
from pathlib import Path
from typing import Any

import pytest

BUSY = """
#include <time.h>
static double now(void) { struct timespec t; clock_gettime(CLOCK_MONOTONIC, &t); return t.tv_sec + t.tv_nsec * 1e-9; }
__attribute__((noinline)) long step(long s) { for (long i = 0; i < 2000; i++) s = s * 31 + i; return s; }
__attribute__((noinline)) long spin(long n) { long s = n; for (long i = 0; i < 10; i++) s += step(i); return s; }
static __attribute__((noinline)) long middle(long x) { return spin(x) * 3 + 1; }
__attribute__((noinline)) long outside(long x) {
  double until = now() + 3;
  long s = 0;
  while (now() < until) s += middle(x);
  return s & 1;
}
long entry(long x) { return x == 99 ? outside(x) : middle(x); }
"""
_EVENT = ("perf", "record", "-q", "-e", "cpu-clock:u", "-F", "500")


def chains(target: Any, tmp_path: Path, how: str) -> list[list[str]]:
    """The call chains of samples, innermost first: names, or [unknown] with the mapping."""
    pid = target.process.pid
    target.process.stdin.write(b"entry 99\n")
    target.process.stdin.flush()
    data = tmp_path / "perf.data"
    words = [*_EVENT, "--call-graph", how, "-o", str(data), "-p", str(pid), "--", "sleep", "1"]
    recorded = subprocess.run(words, check=False, capture_output=True, text=True)
    # containers and hardened kernels may forbid perf_event_open(2), whoever asks
    if recorded.returncode and "perf_event_open" in recorded.stderr:
        pytest.skip(f"the kernel here does not let perf record: {recorded.stderr.strip()[:300]}")
    assert recorded.returncode == 0, recorded.stderr
    said = subprocess.run(
        ["perf", "script", "-i", str(data), "-F", "ip,sym,dso"], check=True, capture_output=True, text=True
    ).stdout
    target.process.stdout.readline()
    return [[" ".join(x.split()[1:]) for x in block.splitlines()] for block in said.strip().split("\n\n") if block]


def test_perf_goes_through_patched_frames_by_frame_pointers_and_names_the_patch(package: Any, tmp_path: Path) -> None:
    """As docs/explanation/applying.md says: fp goes beyond a patched frame, dwarf ends at it, the mapping names the
    patch."""
    made = package(BUSY, ("* 3 + 1", "* 3 + 2"), "entry spin outside", "pie", ("-fno-omit-frame-pointer",))
    patch, target = made.patch(), made.start()
    target.apply(patch)
    mapping = f"[unknown] (/memfd:suture:{patch.id} (deleted))"
    beyond = [c[c.index(mapping) + 1 :] for c in chains(target, tmp_path, "fp") if mapping in c]
    assert len(beyond) > 10
    # outside, entry and main, which are stripped, in the program; a sample in a prologue has no frame pointer yet
    whole = [c for c in beyond if sum(x.endswith("/shipped)") for x in c) >= 2]
    assert len(whole) > 0.8 * len(beyond)
    by_tables = [c for c in chains(target, tmp_path, "dwarf,4096") if mapping in c]
    assert len(by_tables) > 10 and all(c[-1] == mapping for c in by_tables)
