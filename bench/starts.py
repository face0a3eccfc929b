"""What a start of a process costs when the file that it loads is guarded. `bench/starts` calls it.

Starts without a guard, under the guard, and of a program that reads the file and does not load it, by turns in one run.
Then as many starts as there can be for some seconds, from several processes at a time.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from facts import RESULTS, Start
from starts_page import document
from target import Library, NotMeasured

from suture.cli.output import print_json

DOCUMENT = Path(__file__).resolve().parent.parent / "docs/results/starts.md"
_OLD, _NEW = 4, 6  # what `answer(1)` gives, by the version of work.c
_WAIT_SECONDS = 20.0
_BURST_SECONDS = 5.0


def main(words: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="bench/starts", description="What a start costs under suture guard.")
    parser.add_argument("--rounds", type=int, default=20, metavar="N", help="turns of each kind of start (20)")
    parser.add_argument("--starts", type=int, default=20, metavar="N", help="starts in a turn (20)")
    parser.add_argument("--workers", type=int, default=4, metavar="N", help="who start at once in the end (4)")
    parser.add_argument("--json", action="store_true", help="print the raw numbers")
    parser.add_argument("--into", type=Path, default=RESULTS, metavar="DIR", help="where the raw numbers are kept")
    args = parser.parse_args(words)
    start = Start.now("starts", words)
    with tempfile.TemporaryDirectory() as name:
        library = Library.compile(Path(name))
        program, patch = library.program("once"), library.patch(2)
        plain: list[float] = []
        held: list[float] = []
        read_free: list[float] = []
        read_held: list[float] = []
        for _ in range(args.rounds):
            plain += [_seconds([program], _OLD) for _ in range(args.starts)]
            read_free += [_seconds(["/usr/bin/head", "-c", "1", library.path], 0) for _ in range(args.starts)]
            with _guard(patch, library.path, program):
                held += [_seconds([program], _NEW) for _ in range(args.starts)]
                read_held += [_seconds(["/usr/bin/head", "-c", "1", library.path], 0) for _ in range(args.starts)]
        bursts = {"none": _burst(program, args.workers)}
        with _guard(patch, library.path, program):
            bursts["guard"] = _burst(program, args.workers)
    data: dict[str, Any] = {
        "rounds": args.rounds,
        "starts": args.starts,
        "workers": args.workers,
        "burst_seconds": _BURST_SECONDS,
        "microseconds": {
            "start": _us(plain),
            "start_guarded": _us(held),
            "read": _us(read_free),
            "read_guarded": _us(read_held),
        },
        "bursts": bursts,
    }
    record = start.finish(data)
    record.write(args.into)
    if args.into == RESULTS:
        DOCUMENT.write_text(document(record))
    if args.json:
        print_json(record.data)
    else:
        print(document(record))
    return 0


def _us(seconds: Sequence[float]) -> list[int]:
    return [round(s * 1e6) for s in seconds]


def _seconds(command: Sequence[object], answer: int) -> float:
    """From the start of a process to its end, which is known."""
    words = [os.fspath(str(c)) for c in command]
    null = (os.POSIX_SPAWN_OPEN, 1, "/dev/null", os.O_WRONLY, 0)
    begin = time.perf_counter()
    pid = os.posix_spawn(words[0], words, os.environ, file_actions=[null])
    _, status = os.waitpid(pid, 0)
    took = time.perf_counter() - begin
    if os.waitstatus_to_exitcode(status) != answer:
        raise NotMeasured(f"{words[0]} ended with {status:#x} where it should end with {answer}")
    return took


@contextmanager
def _guard(patch: Path, library: Path, program: Path) -> Iterator[None]:
    """`suture guard`, from when it is in force."""
    command = [sys.executable, "-m", "suture.cli", "guard", str(patch), "--file", str(library)]
    guard = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    try:
        assert guard.stdout is not None
        if not guard.stdout.readline().startswith("guarding"):
            raise NotMeasured("suture guard did not begin")
        until = time.monotonic() + _WAIT_SECONDS
        while os.waitstatus_to_exitcode(os.system(str(program))) != _NEW:
            if time.monotonic() > until:
                raise NotMeasured("suture guard patches nothing")
        with subprocess.Popen(["cat"], stdin=guard.stdout, stdout=subprocess.DEVNULL):  # so that it can go on telling
            try:
                yield
            finally:
                guard.terminate()
    finally:
        guard.terminate()
        guard.wait()


def _burst(program: Path, workers: int) -> dict[str, int]:
    """Starts by several processes at once; how many ended with the old and the new answer."""
    loop = f'while :; do "{program}"; echo $?; done'
    command = ["timeout", str(_BURST_SECONDS), "sh", "-c", loop]
    running = [subprocess.Popen(command, stdout=subprocess.PIPE, text=True) for _ in range(workers)]
    answers = [line for worker in running for line in worker.communicate()[0].split()]
    counts = {"old": answers.count(str(_OLD)), "new": answers.count(str(_NEW))}
    return counts | {"other": len(answers) - sum(counts.values())}


if __name__ == "__main__":
    raise SystemExit(main())
