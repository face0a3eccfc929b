"""Real changes between two archive versions of the kernel, chosen by a rule, made into patches and tried in the
archive's own kernel.

A change is a part of what differs in one C file: the hunks that belong together (kernel_change.py). The rule: C files
of the folders below that differ, ordered by the SHA-256 of their paths; the first of them that this kernel has
compiled; of each the change whose text has the smallest SHA-256. Where the compiler or Suture misses a name, the change
takes in what brings it (kernel_pool.py). Each is made, loaded in the guest, waited for, reverted; or refused, with the
reason.

bench/results/kernel_coverage.json has a line for each change, written as soon as it is measured, and the engine that
measured it (a digest of Suture's sources). --resume goes on from there; --redo measures some of them again.
"""

from __future__ import annotations

import argparse
import functools
import hashlib
import json
import re
import sys
import threading
import time
from collections import Counter
from collections.abc import Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor, as_completed
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from facts import RESULTS, Record, Start
from kernel_change import single_changes
from kernel_guest import in_guest
from kernel_page import DOCUMENT, document
from kernel_pool import Need, Parts, Pool, needs, read_text

import suture
from suture.command import run
from suture.compile.job import CompileFailed
from suture.error import SutureError
from suture.kernel.manifest import KernelPatch, read_patch
from suture.make_kernel import built, unit
from suture.make_kernel.make import KernelMaking, make
from suture.make_kernel.prepare import ROOT, KernelTree, prepare, unpacked
from suture.make_kernel.refusal import KernelRefused
from suture.make_kernel.request import KernelRequest, ready
from suture.make_kernel.target import ArchiveKernel, find
from suture.source import cache
from suture.source.difference import tree_difference

FOLDERS = ("net/", "fs/", "mm/", "kernel/", "block/", "ipc/", "security/", "lib/", "crypto/", "io_uring/")
FOLDERS_OF_DRIVERS = ("drivers/net/", "drivers/tty/", "drivers/char/", "drivers/md/", "drivers/nvme/", "drivers/scsi/")

Row = dict[str, Any]
_NOT_MEASURED = "not measured"
_SAMPLES: list[_Sample] = []
_GUESTS = 4


def main(words: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(
        prog="bench/kernel_coverage", description="Writes docs/results/coverage-kernel.md."
    )
    parser.add_argument("--count", type=int, default=40, help="how many changes (40)")
    parser.add_argument("--version", default="6.1.176-1", help="the kernel that is patched")
    parser.add_argument("--to", default="6.1.192-2", help="the newer version")
    parser.add_argument("--resume", action="store_true", help="keep the changes that are measured already")
    parser.add_argument(
        "--redo", choices=("refused", "older", "none"), default="none",
        help="with --resume: measure again what an older engine refused, or all that an older engine measured",
    )  # fmt: skip
    parser.add_argument("--jobs", type=int, default=1, help="how many are made at once (1)")
    parser.add_argument("--only", nargs="+", metavar="FILE", help="measure only these of the sample now")
    parser.add_argument("--only-kept", action="store_true", help="with --resume: write the page, and measure nothing")
    parser.add_argument("--skip-guest", action="store_true", help="make only")
    args = parser.parse_args(words)
    start = Start.now("kernel_coverage", words)
    target = find(args.version)
    sample = _Sample(target, args.to, args.count)
    _SAMPLES[:] = [sample]
    kept = sample.kept() if args.resume else {}
    again = {p for p, r in kept.items() if args.redo in ("older", r["outcome"]) and r.get("engine") != engine()}
    again |= {p for p, r in kept.items() if r["outcome"] == "made" and "loaded" not in r and sample.patch(p) is None}
    work = _Work(start, sample, kept)
    work.write()
    if not args.only_kept:
        wanted = [*(p for p in sample.paths if p not in kept), *sorted(again)]
        wanted = [p for p in wanted if args.only is None or p in args.only]
        with ProcessPoolExecutor(max_workers=args.jobs) as workers, ThreadPoolExecutor(max_workers=1) as guest:
            unit.units(sample.tree, wanted)  # kbuild takes seconds for each time that it is asked
            making = [workers.submit(_one, p) for p in wanted]
            trials = None if args.skip_guest else guest.submit(_try_all, target, work)
            try:
                for one in as_completed(making):
                    work.replace(one.result())
            finally:
                work.is_made = True
            if trials is not None:
                trials.result()
    print(json.dumps(Counter(r["outcome"] for r in work.rows())))
    return 0


def _try_all(target: ArchiveKernel, work: _Work) -> None:
    """Try patches as they are made. On a loaded machine a guest may not start or answer in time: then another is
    asked."""
    for left in reversed(range(_GUESTS)):
        try:
            in_guest(target, work.waiting, work.add)
            return
        except SutureError as error:
            print(f"a guest ended: {error.what[:200]}", file=sys.stderr, flush=True)
            if not left:
                raise


@dataclass
class _Sample:
    """The changes that are to be measured, by their files."""

    target: ArchiveKernel
    to: str
    count: int
    paths: list[str] = field(init=False)
    modules: dict[str, str] = field(init=False)
    tree: KernelTree = field(init=False)
    newer: Path = field(init=False)
    pool: Pool = field(init=False)

    def __post_init__(self) -> None:
        self.tree = prepare(self.target)
        self.newer = unpacked(self.target, self.to) / ROOT.lstrip("/")
        changed = _changed(self.target, self.tree.files, self.newer, self.to)
        self.pool = Pool.read(self.target, self.tree, self.newer, changed, self.to)
        kernel = built.read(self.tree)
        wanted = [p for p in changed if kernel.kernel(p) and p.startswith(FOLDERS + FOLDERS_OF_DRIVERS)]
        self.paths = sorted(wanted, key=lambda p: hashlib.sha256(p.encode()).hexdigest())[: self.count]
        compiles = {p: kernel.kernel(p) for p in self.paths}
        self.modules = {p: " ".join(c.modules) or "vmlinux" for p, c in compiles.items() if c is not None}

    def kept(self) -> dict[str, Row]:
        """What the last run has measured of the same two versions, by file."""
        path = RESULTS / "kernel_coverage.json"
        data = Record.read(path).data if path.exists() else {"version": "", "rows": []}
        if (data["version"], data.get("to")) != (self.target.version, self.to):
            return {}
        return {r["path"]: r for r in data["rows"] if r["outcome"] != _NOT_MEASURED}

    def module(self, path: str) -> Path:
        """Where the patch of a change is kept."""
        place = cache.root() / "bench" / "kernel_coverage" / cache.safe(f"{self.target.version}-{self.to}")
        place.mkdir(parents=True, exist_ok=True)
        return place / cache.safe(f"{path}.ko")

    def patch(self, path: str) -> KernelPatch | None:
        """The kept patch of a change; None where there is none that this Suture reads."""
        try:
            return read_patch(self.module(path))
        except (SutureError, OSError):
            return None

    def drawn(self, path: str) -> str:
        """The change of a file that is tried."""
        old, new = self.tree.files, self.newer
        whole = tree_difference(old, new, path, (path,)).files[0].text
        parts = single_changes(whole, read_text(old / path), read_text(new / path))
        return min(parts, key=lambda p: hashlib.sha256(p.encode(errors="surrogateescape")).hexdigest(), default=whole)


@dataclass
class _Work:
    """What is measured so far. Each change is written down as soon as something of it is known."""

    start: Start
    sample: _Sample
    measured: dict[str, Row]
    is_made: bool = False
    lock: threading.RLock = field(default_factory=threading.RLock)

    def rows(self) -> list[Row]:
        blank: Row = {"outcome": _NOT_MEASURED, "reason": "", "functions": []}
        rows = [self.measured.get(p, {"path": p, "files": [p], **blank}) for p in self.sample.paths]
        return [{**r, "module": self.sample.modules[r["path"]]} for r in rows]

    def write(self) -> None:
        rows = self.rows()
        facts = {"version": self.sample.target.version, "to": self.sample.to, "wanted": len(rows), "engine": engine()}
        record = self.start.finish({**facts, "rows": rows})
        record.write(RESULTS)
        DOCUMENT.write_text(document(record))

    def replace(self, row: Row) -> None:
        """Take a change as it was measured now."""
        with self.lock:
            self.measured[row["path"]] = row
            self._tell(row)

    def add(self, path: str, trial: Mapping[str, Any]) -> None:
        """Take what came of a change in the guest."""
        with self.lock:
            self.measured[path].update(trial)
            self._tell(self.measured[path])

    def _tell(self, row: Row) -> None:
        done = sum(p in self.measured for p in self.sample.paths)
        what = "reverted" if row.get("reverted") else row.get("said") or row["reason"][:150]
        print(f"{done} {row['path']}: {row['outcome']} {what}", file=sys.stderr, flush=True)
        self.write()

    def waiting(self) -> dict[str, KernelPatch] | None:
        """Patches that no guest has tried yet; None when there will be no more."""
        is_made = self.is_made
        with self.lock:
            rows = [r for r in self.rows() if r["outcome"] == "made" and "loaded" not in r]
        patches = {r["path"]: self.sample.patch(r["path"]) for r in rows}
        waiting = {p: x for p, x in patches.items() if x is not None}
        return waiting if waiting or not is_made else None


@functools.cache
def engine() -> str:
    """Tells engines apart: a digest of the sources that make patches."""
    root = Path(suture.__file__).parent
    texts = [
        p.read_bytes()
        for p in sorted(root.rglob("*.py"))
        if p.relative_to(root).parts[0] not in ("cli", "machine", "process")
    ]
    return hashlib.sha256(b"\0".join(texts)).hexdigest()[:8]


def _one(path: str) -> Row:
    """Make the patch of a change, and keep it. Runs in a worker, which has the sample since it was forked."""
    (sample,) = _SAMPLES
    row, module = attempt(sample.target, path, sample.drawn(path), sample.pool)
    if module is not None:
        sample.module(path).write_bytes(module.data)
    return {**row, "engine": engine(), "measured": datetime.now(UTC).strftime("%Y-%m-%d")}


def _changed(target: ArchiveKernel, old: Path, new: Path, to: str) -> list[str]:
    """Paths of files that differ between two trees, sorted; remembered, since it reads all of both."""

    def make(path: Path) -> None:
        said = run(["diff", "--recursive", "--brief", str(old), str(new)], accept=frozenset({0, 1}))
        rows = [x.split()[1].removeprefix(f"{old}/") for x in said.splitlines() if x.startswith(f"Files {old}/")]
        path.write_text(json.dumps(sorted(rows)))

    place = cache.root() / "bench" / cache.safe(f"kernel-changed-{target.version}-{to}.json")
    found: list[str] = json.loads(cache.item(place, make).read_text())
    return found


def attempt(target: ArchiveKernel, path: str, change: str, pool: Pool) -> tuple[Row, KernelMaking | None]:
    """Make one, with what it turns out to need."""
    row: Row = {"path": path, "outcome": "refused", "reason": "", "more": 0, "kind": "", "functions": [], "files": []}
    parts: Parts | None = pool.drawn(path, change)
    while parts is not None:
        began = time.monotonic()
        text = pool.text(parts)
        row |= {"hunks": len(re.findall("^@@ ", text, re.MULTILINE)), "files": sorted(parts)}
        missed: list[Need] = []
        try:
            name = re.sub(r"\W+", "-", path) + ".patch"
            module = make(ready(KernelRequest(f"linux={target.version}", ((name, text),))))
        except CompileFailed as error:
            said = error.what.partition("error: ")[2].partition("\n")[0] or error.what.replace("\n", "; ")[:200]
            row |= {"reason": said, "more": 0, "kind": "does not compile without more of the difference"}
            missed = needs({r.source: r.output for r in error.rejected})
        except KernelRefused as error:
            if any("changes the code of no function" in r.reason for r in error.refused):
                return row | {"outcome": "no code changes", "reason": "", "kind": ""}, None
            first = error.refused[0]
            row["reason"] = f"{first.file}:{first.line} {first.function}".strip() + f": {first.reason}"
            row |= {"more": len(error.refused) - 1, "kind": _kind([r.reason for r in error.refused])}
            lost = [re.search(r"nothing in the running kernel is called (\w+)", r.reason) for r in error.refused]
            missed = [Need((m[1],)) for m in lost if m is not None]
        except SutureError as error:
            row |= {"reason": error.what.replace("\n", "; ")[:300], "more": 0, "kind": _kind([error.what])}
            if "no code or data changes" in error.what:
                return row | {"outcome": "no code changes", "reason": "", "kind": ""}, None
        else:
            ledgers = [f.ledger for f in module.manifest.fixes]
            row |= {"outcome": "made", "reason": "", "kind": "", "complete": module.manifest.is_complete}
            row["missing"] = sorted({a.reason for x in ledgers for a in x.missing})
            row["functions"] = [f"{f.object}:{f.name}" for f in module.manifest.functions]
            row |= {"seconds": round(time.monotonic() - began, 1), "keep": bool(module.manifest.keep)}
            return row, module
        parts = pool.with_more(parts, missed)
    return row, None


def _kind(reasons: Sequence[str]) -> str:
    """The class of a refusal, for the count."""
    for words, kind in (
        ("objects of it exist", "a type's layout changes"),
        ("contents of this table", "a constant table changes"),
        ("initial value", "a variable's initial value changes"),
        ("nothing in the running kernel", "needs a symbol that the kernel lacks"),
        ("only runs while", "initialisation code changes"),
        ("does not depend on", "needs another module"),
        ("may use what changes in it", "a header that many files use changes"),
        ("a new file", "a new file"),
        ("begins without a call of the function tracer", "a function can't be diverted (notrace)"),
        ("is found", "the code does not match"),
        ("files use what changes in it", "a header that many files use changes"),
        ("units may be affected", "a header that many files use changes"),
        ("very much depends on", "a header that many files use changes"),
        ("does not apply", "hunks do not apply apart"),
    ):
        if any(words in r for r in reasons):
            return kind
    return "other"


if __name__ == "__main__":
    sys.exit(main())
