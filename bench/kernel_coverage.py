"""Real changes between two archive versions of the kernel, chosen by a rule, made into patches and tried in the archive's own kernel.

A change is a part of what differs in one C file: the hunks that belong together (kernel_change.py). The rule: C files of the folders
below that differ, ordered by the SHA-256 of their paths; the first of them that this kernel has compiled; of each the change whose text
has the smallest SHA-256. Where the compiler or Suture misses a name, the change takes in what brings it: lines that headers gain,
else all hunks of headers and all changes of C files that have the name on a changed line. Each is made, loaded in the guest, waited
for, reverted; or refused, with the reason. What was measured is kept: a run that is interrupted goes on with --resume.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import re
import sys
import time
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from facts import Start
from kernel_change import single_changes
from kernel_guest import in_guest
from kernel_page import DOCUMENT, document

from suture.command import run
from suture.error import SutureError
from suture.kernel.manifest import KernelPatch, read_patch
from suture.make_kernel import built, unit
from suture.make_kernel.make import KernelMaking, make
from suture.make_kernel.prepare import ROOT, KernelTree, prepare, unpacked
from suture.make_kernel.refusal import KernelRefused
from suture.make_kernel.request import KernelRequest, ready
from suture.make_kernel.target import Target, find
from suture.source import cache
from suture.source.difference import tree_difference

FOLDERS = ("net/", "fs/", "mm/", "kernel/", "block/", "ipc/", "security/", "lib/", "crypto/", "io_uring/")
FOLDERS_OF_DRIVERS = ("drivers/net/", "drivers/tty/", "drivers/char/", "drivers/md/", "drivers/nvme/", "drivers/scsi/")


_WORD = re.compile(r"\w+")
_MOST_PARTS = 10  # hunks and changes that one missing name may bring in
_HUNKS = re.compile(r"^(?=@@ )", re.MULTILINE)


def main(words: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(
        prog="bench/kernel_coverage", description="Writes docs/results/coverage-kernel.md."
    )
    parser.add_argument("--count", type=int, default=40, help="how many changes (40)")
    parser.add_argument("--version", default="6.1.176-1", help="the kernel that is patched")
    parser.add_argument("--to", default="6.1.192-2", help="the newer version")
    parser.add_argument("--resume", action="store_true", help="take what an interrupted run has made already")
    parser.add_argument(
        "--only-kept", action="store_true", help="write down what is measured already, and measure nothing"
    )
    parser.add_argument("--skip-guest", action="store_true", help="make only")
    args = parser.parse_args(words)
    start = Start.now("kernel_coverage", words)
    target = find(args.version)
    if not (args.resume or args.only_kept):
        cache.discard(_kept(target, args.to))
    rows: list[dict[str, Any]] = []

    def write() -> None:
        record = start.finish({"version": args.version, "to": args.to, "wanted": args.count, "rows": rows})
        record.write(Path(__file__).resolve().parent / "results")
        DOCUMENT.write_text(document(record))

    patches = {}
    for row, patch in making(target, args.to, args.count, not args.only_kept):
        kept = _kept(target, args.to) / cache.safe(row["path"]) / "tried.json"
        rows.append({**row, **(json.loads(kept.read_text()) if kept.exists() else {})})
        if patch is not None and not kept.exists():
            patches[row["path"]] = patch
        print(f"{len(rows)} {row['path']}: {row['outcome']} {row['reason'][:150]}", file=sys.stderr, flush=True)
        write()

    def keep(path: str, tried: Mapping[str, Any]) -> None:
        (_kept(target, args.to) / cache.safe(path) / "tried.json").write_text(json.dumps(tried))
        next(r for r in rows if r["path"] == path).update(tried)
        print(f"{path}: {'reverted' if tried['reverted'] else tried['said']}", file=sys.stderr, flush=True)
        write()

    if not (args.skip_guest or args.only_kept) and patches:
        in_guest(target, patches, keep)
    print(json.dumps(Counter(r["outcome"] for r in rows)))
    return 0


def making(target: Target, to: str, count: int, measure: bool) -> Iterator[tuple[dict[str, Any], KernelPatch | None]]:
    """Rows of the sample, each with what was made; without `measure` those that are kept, and that the others are not measured."""
    tree = prepare(target)
    newer = unpacked(target, to) / ROOT.lstrip("/")
    changed = _changed(target, tree.files, newer, to)
    pool = Pool.read(target, tree, newer, changed, to)
    kernel = built.read(tree)
    wanted = [p for p in changed if kernel.kernel(p) and p.startswith(FOLDERS + FOLDERS_OF_DRIVERS)]
    wanted.sort(key=lambda p: hashlib.sha256(p.encode()).hexdigest())
    for path in wanted[:count]:
        compiled = kernel.kernel(path)
        assert compiled is not None
        place = _kept(target, to) / cache.safe(path)
        if not (place / "row.json").exists() and measure:
            fresh, module = attempt(target, path, _drawn(tree.files, newer, path), pool)
            place.mkdir(parents=True, exist_ok=True)
            if module is not None:
                (place / "module.ko").write_bytes(module.data)
            (place / "row.json").write_text(json.dumps(fresh))
        row = {"path": path, "outcome": "not measured", "reason": "", "functions": [], "files": [path]}
        if (place / "row.json").exists():
            row = json.loads((place / "row.json").read_text())
        row["module"] = " ".join(compiled.modules) or "vmlinux"
        yield row, read_patch(place / "module.ko") if (place / "module.ko").exists() else None


def _drawn(old: Path, new: Path, path: str) -> str:
    """The change of a file that is tried."""
    whole = tree_difference(old, new, path, (path,)).files[0].text
    parts = single_changes(whole, _read(old / path), _read(new / path))
    return min(parts, key=lambda p: hashlib.sha256(p.encode(errors="surrogateescape")).hexdigest(), default=whole)


def _read(path: Path) -> str:
    return path.read_text(errors="surrogateescape")


def _kept(target: Target, to: str) -> Path:
    """Where a run keeps what it has made."""
    return cache.root() / "bench" / "kernel_coverage" / cache.safe(f"{target.version}-{to}-3")


def _changed(target: Target, old: Path, new: Path, to: str) -> list[str]:
    """Paths of files that differ between two trees, sorted; remembered, since it reads all of both."""

    def make(path: Path) -> None:
        said = run(["diff", "--recursive", "--brief", str(old), str(new)], accept=frozenset({0, 1}))
        rows = [x.split()[1].removeprefix(f"{old}/") for x in said.splitlines() if x.startswith(f"Files {old}/")]
        path.write_text(json.dumps(sorted(rows)))

    place = cache.root() / "bench" / cache.safe(f"kernel-changed-{target.version}-{to}.json")
    found: list[str] = json.loads(cache.item(place, make).read_text())
    return found


@dataclass(frozen=True)
class Pool:
    """All that differs in files of this kernel: for each the head of its difference, and its changes as lists of hunks."""

    heads: Mapping[str, str]
    changes: Mapping[str, Sequence[Sequence[str]]]

    @classmethod
    def read(cls, target: Target, tree: KernelTree, newer: Path, changed: Sequence[str], to: str) -> Pool:
        """Remembered, since it compares each file."""
        kernel = built.read(tree)
        mine = [
            p
            for p in changed
            if kernel.kernel(p) or (p.endswith(".h") and not re.match(r"arch/(?!x86/)|tools/|scripts/", p))
        ]

        def make(path: Path) -> None:
            rows = {}
            for name in mine:
                whole = tree_difference(tree.files, newer, name, (name,)).files[0].text
                head, *hunks = _HUNKS.split(whole)
                if name.endswith(".c"):
                    parts = single_changes(whole, _read(tree.files / name), _read(newer / name))
                    rows[name] = [head, [_HUNKS.split(p)[1:] for p in parts]]
                else:
                    rows[name] = [head, [[h] for h in hunks]]
            path.write_text(json.dumps(rows))

        place = cache.root() / "bench" / cache.safe(f"kernel-pool-{target.version}-{to}.json")
        rows = json.loads(cache.item(place, make).read_text())
        return cls({n: r[0] for n, r in rows.items()}, {n: r[1] for n, r in rows.items()})

    def naming(self, names: set[str], only_gained: bool) -> list[tuple[str, str]]:
        """Files and hunks of the changes that have a name on a changed line; `only_gained`: of headers, that take nothing away."""
        found = []
        for path, changes in self.changes.items():
            if only_gained and not path.endswith(".h"):
                continue
            for hunks in changes:
                lines = [x for h in hunks for x in h.split("\n") if x[:1] in ("+", "-")]
                if only_gained and any(x.startswith("-") for x in lines):
                    continue
                if any(names & set(_WORD.findall(x)) for x in lines):
                    found += [(path, h) for h in hunks]
        return found


def attempt(target: Target, path: str, change: str, pool: Pool) -> tuple[dict[str, Any], KernelMaking | None]:
    """Make one, with what it turns out to need."""
    row: dict[str, Any] = {"path": path, "outcome": "refused", "reason": "", "kind": "", "functions": [], "files": []}
    parts: dict[str, list[str]] = {path: _HUNKS.split(change)[1:]}
    head = _HUNKS.split(change)[0]
    while True:
        began = time.monotonic()
        row |= {"hunks": sum(map(len, parts.values())), "files": sorted(parts)}
        names: set[str] = set()
        try:
            name = re.sub(r"\W+", "-", path) + ".patch"
            texts = [pool.heads.get(p, head) + "".join(sorted(hs, key=_place)) for p, hs in sorted(parts.items())]
            made = make(ready(KernelRequest(f"linux={target.version}", ((name, "".join(texts)),))))
        except unit.CompileFailed as error:
            row["reason"] = (
                error.what.partition("error: ")[2].partition("\n")[0] or error.what.replace("\n", "; ")[:200]
            )
            row["kind"] = "does not compile without more of the difference"
            names = _missing(error.what)
        except KernelRefused as error:
            if any("changes the code of no function" in r.reason for r in error.refused):
                row |= {"outcome": "no code changes", "reason": "", "kind": ""}
                return row, None
            first = [f"{r.file}:{r.line} {r.function}: {r.reason}" for r in error.refused[:2]]
            more = len(error.refused) - 2
            row["reason"] = "; ".join(first) + (f" (and {more} more)" if more > 0 else "")
            row["kind"] = _kind([r.reason for r in error.refused])
            names = {
                m[1]
                for r in error.refused
                if (m := re.search(r"nothing in the running kernel is called (\w+)", r.reason))
            }
        except SutureError as error:
            row |= {"reason": error.what.replace("\n", "; ")[:300], "kind": _kind([error.what])}
            if "no code or data changes" in error.what:
                row |= {"outcome": "no code changes", "reason": "", "kind": ""}
        else:
            row |= {"outcome": "made", "reason": "", "kind": "", "complete": made.manifest.is_complete}
            row["missing"] = sorted({a.reason for f in made.manifest.fixes for a in f.ledger.missing})
            row["functions"] = [f"{f.object}:{f.name}" for f in made.manifest.functions]
            row |= {"seconds": round(time.monotonic() - began, 1), "keep": bool(made.manifest.keep)}
            return row, made
        if not names or not _grow(parts, pool, names):
            return row, None


def _grow(parts: dict[str, list[str]], pool: Pool, names: set[str]) -> bool:
    """Take in what brings the names; whether that was anything, and not so much that it is another change."""
    everywhere = pool.naming(names, only_gained=False)
    defining = re.compile(rf"^\+[A-Za-z_][^;\n]*\b(?:{'|'.join(sorted(names))})\([^;\n]*$", re.MULTILINE)
    for found in (pool.naming(names, only_gained=True), [x for x in everywhere if defining.search(x[1])], everywhere):
        more = [(p, h) for p, h in found if h not in parts.get(p, ())]
        if more and len(more) <= _MOST_PARTS:
            for path, hunk in more:
                parts.setdefault(path, []).append(hunk)
            return True
    return False


def _place(hunk: str) -> int:
    return int(re.match(r"@@ -(\d+)", hunk)[1])  # type: ignore[index]


def _missing(said: str) -> set[str]:
    """Names that the compiler does not know, or knows otherwise."""
    errors = " ".join(x for x in said.split("\n") if "error: " in x or "note: " in x)
    return set(re.findall("\u2018(?:struct |union |enum )?([A-Za-z_]\\w{3,})\u2019", errors))


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
        ("does not apply", "hunks do not apply apart"),
    ):
        if any(words in r for r in reasons):
            return kind
    return "other"


if __name__ == "__main__":
    sys.exit(main())
