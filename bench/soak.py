"""Many apply, replace and revert rounds on a program that checks every answer. `bench/soak` calls it.

A round is apply version 2, replace it by version 3, revert. Meanwhile workers call `both`, whose two halves must always
be of one version; threads are born and end; real-time signals arrive, whose handler calls `both` too. Before and after
are compared: mappings, address space, open files, threads.
"""

from __future__ import annotations

import argparse
import os
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from subprocess import Popen
from typing import Any

from facts import RESULTS, Start
from summary import Spread
from target import Library, NotMeasured, Shared, read_patches, started

from suture.cli.output import print_json, print_table
from suture.patch.file import PatchFile
from suture.process.change.apply import apply
from suture.process.change.result import Result
from suture.process.change.revert import revert

_FIELDS = ("stop", "seen_1", "seen_2", "seen_3", "mixed", "wrong", "sent", "handled", "born", "finished")
_END_SECONDS = 30.0
_LONG_ENOUGH = 60.0


@dataclass(frozen=True)
class Footprint:
    """What a process holds: mappings named `suture:`, all mappings, kilobytes of address space, open files, threads."""

    ours: int
    mappings: int
    address_space_kb: int
    files: int
    threads: int

    @classmethod
    def of(cls, pid: int) -> Footprint:
        process = Path(f"/proc/{pid}")
        maps = (process / "maps").read_text().splitlines()
        status = dict(line.split(":", 1) for line in (process / "status").read_text().splitlines())
        size, threads = int(status["VmSize"].split()[0]), int(status["Threads"])
        ours = sum("suture:" in line for line in maps)
        return cls(ours, len(maps), size, len(os.listdir(process / "fd")), threads)


@dataclass(frozen=True)
class Soak:
    """`first` is the footprint after one round: all memory that the design keeps is there; `last` after all of them.

    `files` and `ours` of both must be equal, `mixed` and `wrong` 0, `sent` equal to `handled`. `own_files` are ours,
    before and after.
    """

    rounds: int
    seconds: float
    pauses_us: list[float]
    before: Footprint
    first: Footprint
    last: Footprint
    own_files: tuple[int, int]
    counts: dict[str, int]
    exit_status: int

    @property
    def faults(self) -> list[str]:
        """All that is not as it should be."""
        c = self.counts
        found = [f"{c[name]} {name} answers" for name in ("mixed", "wrong") if c[name]]
        found += [f"version {v} was never seen" for v in (1, 2, 3) if not c[f"seen_{v}"]]
        if c["sent"] != c["handled"]:
            found.append(f"{c['sent']} signals were sent, {c['handled']} were handled")
        if c["born"] != c["finished"]:
            found.append(f"{c['born']} threads were born, {c['finished']} ended as they should")
        if self.exit_status:
            found.append(f"the target ended with status {self.exit_status}")
        if self.first.ours != self.last.ours:
            found.append(f"mappings of patches went from {self.first.ours} to {self.last.ours}")
        if self.first.files != self.last.files:
            found.append(f"open files of the target went from {self.first.files} to {self.last.files}")
        if self.own_files[0] != self.own_files[1]:
            found.append(f"our open files went from {self.own_files[0]} to {self.own_files[1]}")
        return found


def main(words: Sequence[str] | None = None) -> int:
    """Exit code 1 when something was not as it should be."""
    parser = argparse.ArgumentParser(
        prog="bench/soak", description="Apply, replace and revert under load, with every answer checked."
    )
    parser.add_argument(
        "--rounds", type=int, default=1000, metavar="N", help="rounds of apply, replace and revert (1000)"
    )
    parser.add_argument("--workers", type=int, default=6, metavar="N", help="threads that call all the time (6)")
    parser.add_argument("--json", action="store_true", help="print the raw numbers")
    parser.add_argument("--into", type=Path, default=RESULTS, metavar="DIR", help="where the raw numbers are kept")
    args = parser.parse_args(words)
    start = Start.now("soak", words)
    with tempfile.TemporaryDirectory() as name:
        library = Library.compile(Path(name))
        program = library.program("soak")
        patches = read_patches([library.patch(2), library.patch(3)])
        soak = _soak(program, patches, args.rounds, args.workers)
    record = start.finish({**asdict(soak), "workers": args.workers, "faults": soak.faults})
    record.write(args.into)
    if args.json:
        print_json(record.data)
    else:
        print_table(("what", "value"), rows(record.data))
    return int(bool(soak.faults))


def _soak(program: Path, patches: Sequence[PatchFile], rounds: int, workers: int) -> Soak:
    second, third = patches
    shared = Shared(4096)
    pauses: list[float] = []
    try:
        with started([program, shared.fd, workers], shared=shared) as target:
            _until_answers(target, shared)
            before = first = Footprint.of(target.pid)
            own = begin = 0.0
            for n in range(rounds):
                pauses += _done(apply(target.pid, second, timeout=_LONG_ENOUGH))
                pauses += _done(apply(target.pid, third, timeout=_LONG_ENOUGH, replace=True))
                pauses += _done(revert(target.pid, third.id, timeout=_LONG_ENOUGH))
                if n == 0:
                    first, own, begin = _steady(target.pid), len(os.listdir("/proc/self/fd")), time.monotonic()
            seconds = time.monotonic() - begin
            last, own_after = _steady(target.pid), len(os.listdir("/proc/self/fd"))
            shared.set_word(0, 1)
            status = target.wait(_END_SECONDS)
            counts = dict(zip(_FIELDS, shared.words(0, len(_FIELDS)), strict=True))
            return Soak(rounds, seconds, pauses, before, first, last, (int(own), own_after), counts, status)
    finally:
        shared.close()


def _until_answers(target: Popen[str], shared: Shared) -> None:
    deadline = time.monotonic() + _END_SECONDS
    while not shared.word(1) or not shared.word(8):
        if target.poll() is not None or time.monotonic() > deadline:
            raise NotMeasured("the target does not work")
        time.sleep(0.01)


def _done(result: Result) -> tuple[float, ...]:
    """Pauses of a whole change. Raises NotMeasured when a group was left out."""
    if result.exit_code:
        raise NotMeasured("; ".join(f"{g.name} is {g.state.value}: {g.why}" for g in result.groups))
    return result.pauses_us


def _steady(pid: int) -> Footprint:
    """Of several looks the smallest: threads come and go."""
    looks = []
    for _ in range(20):
        looks.append(Footprint.of(pid))
        time.sleep(0.005)
    least = [
        min(getattr(f, name) for f in looks) for name in ("ours", "mappings", "address_space_kb", "files", "threads")
    ]
    return Footprint(*least)


def rows(data: Mapping[str, Any]) -> list[tuple[str, str]]:
    """The table from raw numbers."""
    c, first, last = data["counts"], data["first"], data["last"]
    stops = Spread.of(data["pauses_us"])
    answers = c["seen_1"] + c["seen_2"] + c["seen_3"]
    return [
        ("rounds of apply, replace, revert", f"{data['rounds']} in {data['seconds']:.0f} s"),
        (
            "stops",
            f"{len(data['pauses_us'])} (p50 {stops.p50:.0f} us, p99 {stops.p99:.0f} us, max {stops.most:.0f} us)",
        ),
        ("answers checked", f"{answers:,} (version 1: {c['seen_1']:,}, 2: {c['seen_2']:,}, 3: {c['seen_3']:,})"),
        ("mixed, wrong", f"{c['mixed']}, {c['wrong']}"),
        ("signals sent, handled", f"{c['sent']:,}, {c['handled']:,}"),
        ("threads born, ended", f"{c['born']:,}, {c['finished']:,}"),
        ("mappings of patches after the first and the last round", f"{first['ours']}, {last['ours']}"),
        ("all mappings", f"{first['mappings']}, {last['mappings']}"),
        ("address space, KiB", f"{first['address_space_kb']:,}, {last['address_space_kb']:,}"),
        ("open files of the target", f"{first['files']}, {last['files']}"),
        ("open files of the engine", f"{data['own_files'][0]}, {data['own_files'][1]}"),
        ("not as it should be", "; ".join(data["faults"]) or "nothing"),
    ]


if __name__ == "__main__":
    sys.exit(main())
