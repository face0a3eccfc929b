"""Real changes between two archive versions of the kernel, chosen by a rule, made into patches and tried in the archive's own kernel.

A change is a part of what differs in one C file: the hunks that belong together (kernel_change.py), with the lines that the file's
headers gain where it does not compile without. The rule: C files of the folders below that differ, ordered by the SHA-256 of their
paths; the first of them that this kernel has compiled; of each the change whose text has the smallest SHA-256. Each is made,
loaded in the guest, waited for, reverted; or refused, with the reason.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import re
import sys
import time
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from facts import Start
from kernel_change import single_changes
from kernel_guest import in_guest
from kernel_page import DOCUMENT, document

from suture.command import run
from suture.error import SutureError
from suture.kernel import unit
from suture.kernel.make import KernelMaking, make
from suture.kernel.manifest import KernelPatch, read_patch
from suture.kernel.prepare import ROOT, prepare, unpacked
from suture.kernel.refusal import KernelRefused
from suture.kernel.request import KernelRequest, ready
from suture.kernel.target import Target, find
from suture.source import cache
from suture.source.difference import tree_difference
from suture.source.fix import FilePatch, Fix

FOLDERS = ("net/", "fs/", "mm/", "kernel/", "block/", "ipc/", "security/", "lib/", "crypto/", "io_uring/")
FOLDERS_OF_DRIVERS = ("drivers/net/", "drivers/tty/", "drivers/char/", "drivers/md/", "drivers/nvme/", "drivers/scsi/")


_WORD = re.compile(r"\w+")


def main(words: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="bench/kernel_coverage", description="Writes docs/coverage-kernel.md.")
    parser.add_argument("--count", type=int, default=40, help="how many changes (40)")
    parser.add_argument("--version", default="6.1.176-1", help="the kernel that is patched")
    parser.add_argument("--to", default="6.1.192-2", help="the newer version")
    parser.add_argument("--resume", action="store_true", help="take what an interrupted run has made already")
    parser.add_argument("--skip-guest", action="store_true", help="make only")
    args = parser.parse_args(words)
    start = Start.now("kernel_coverage", words)
    target = find(args.version)
    if not args.resume:
        cache.discard(_kept(target, args.to))
    rows, patches = making(target, args.to, args.count)
    if not args.skip_guest:
        tried = in_guest(target, patches)
        rows = [{**r, **tried.get(r["path"], {})} for r in rows]
    record = start.finish({"version": args.version, "to": args.to, "rows": rows})
    record.write(Path(__file__).resolve().parent / "results")
    DOCUMENT.write_text(document(record))
    print(json.dumps(Counter(r["outcome"] for r in rows)))
    return 0


def making(target: Target, to: str, count: int) -> tuple[list[dict[str, Any]], dict[str, KernelPatch]]:
    """Rows of the sample, and what was made, by path."""
    tree = prepare(target)
    newer = unpacked(target, to) / ROOT.lstrip("/")
    changed = _changed(target, tree.files, newer, to)
    headers = {p for p in changed if p.endswith(".h")}
    wanted = [p for p in changed if p.endswith(".c") and p.startswith(FOLDERS + FOLDERS_OF_DRIVERS)]
    wanted.sort(key=lambda p: hashlib.sha256(p.encode()).hexdigest())
    rows: list[dict[str, Any]] = []
    patches: dict[str, KernelPatch] = {}
    known: dict[str, unit.KernelUnit | unit.NotBuilt] = {}
    for number, path in enumerate(wanted):
        if len(rows) >= count:
            break
        if path not in known:
            known = unit.units(tree, wanted[number : number + 12])
        one = known[path]
        if isinstance(one, unit.NotBuilt) or any(target.module(m) is None for m in one.modules):
            continue
        place = _kept(target, to) / cache.safe(path)
        if not (place / "row.json").exists():
            own = {h: tree_difference(tree.files, newer, h, (h,)) for h in sorted(headers & set(one.depends))}
            fresh, module = attempt(target, path, _drawn(tree.files, newer, path), own)
            place.mkdir(parents=True, exist_ok=True)
            if module is not None:
                (place / "module.ko").write_bytes(module.data)
            (place / "row.json").write_text(json.dumps(fresh))
        row = json.loads((place / "row.json").read_text())
        if row is None:
            continue
        row["module"] = " ".join(one.modules) or "vmlinux"
        rows.append(row)
        if (place / "module.ko").exists():
            patches[path] = read_patch(place / "module.ko")
        print(f"{len(rows)} {path}: {row['outcome']} {row['reason'][:150]}", file=sys.stderr, flush=True)
    return rows, patches


def _drawn(old: Path, new: Path, path: str) -> str:
    """The change of a file that is tried."""
    whole = tree_difference(old, new, path, (path,)).files[0].text
    parts = single_changes(whole, _read(old / path), _read(new / path))
    return min(parts, key=lambda p: hashlib.sha256(p.encode(errors="surrogateescape")).hexdigest(), default=whole)


def _read(path: Path) -> str:
    return path.read_text(errors="surrogateescape")


def _kept(target: Target, to: str) -> Path:
    """Where a run keeps what it has made."""
    return cache.root() / "bench" / "kernel_coverage" / cache.safe(f"{target.version}-{to}-2")


def _changed(target: Target, old: Path, new: Path, to: str) -> list[str]:
    """Paths of files that differ between two trees, sorted; remembered, since it reads all of both."""

    def make(path: Path) -> None:
        said = run(["diff", "--recursive", "--brief", str(old), str(new)], accept=frozenset({0, 1}))
        rows = [x.split()[1].removeprefix(f"{old}/") for x in said.splitlines() if x.startswith(f"Files {old}/")]
        path.write_text(json.dumps(sorted(rows)))

    place = cache.root() / "bench" / cache.safe(f"kernel-changed-{target.version}-{to}.json")
    found: list[str] = json.loads(cache.item(place, make).read_text())
    return found


def _hunks(fix: Fix, names: set[str]) -> FilePatch | None:
    """The part of a header's change that only adds lines, one of `names` among them: other hunks change what more files use."""
    part = fix.files[0]
    head, *hunks = re.split(r"^(?=@@ )", part.text, flags=re.MULTILINE)
    pure = [h for h in hunks if not re.search(r"^-", h, re.MULTILINE)]
    wanted = [h for h in pure if any(names & set(_WORD.findall(x)) for x in h.split("\n") if x.startswith("+"))]
    return replace(part, text=head + "".join(wanted)) if wanted else None


def attempt(
    target: Target, path: str, change: str, headers: Mapping[str, Fix]
) -> tuple[dict[str, Any] | None, KernelMaking | None]:
    """Make one; None when this kernel does not have the file.

    `headers` are the changes of headers that it includes: of those the hunks go in that hold a name which the compiler misses.
    """
    row: dict[str, Any] = {
        "path": path,
        "hunks": change.count("\n@@ "),
        "outcome": "refused",
        "reason": "",
        "functions": [],
        "headers": [],
    }
    names: set[str] = set()
    while True:
        began = time.monotonic()
        parts = [h for h in (_hunks(f, names) for f in headers.values()) if h]
        row["headers"] = sorted({p.path for p in parts})
        try:
            name = re.sub(r"\W+", "-", path) + ".patch"
            whole = ready(KernelRequest(f"linux={target.version}", ((name, change),)))
            fix = replace(whole.fixes[0], files=(*whole.fixes[0].files, *parts))
            made = make(replace(whole, fixes=(fix,)))
        except unit.CompileFailed as error:
            row["reason"] = (
                error.what.partition("error: ")[2].partition("\n")[0] or error.what.replace("\n", "; ")[:200]
            )
            row["kind"] = "needs more of the change than its file and headers"
            missing = _missing(error.what) - names
            if not missing or not any(_hunks(f, missing) for f in headers.values()):
                return row, None
            names |= missing
            continue
        except KernelRefused as error:
            first = [f"{r.file}:{r.line} {r.function}: {r.reason}" for r in error.refused[:2]]
            more_reasons = len(error.refused) - 2
            row["reason"] = "; ".join(first) + (f" (and {more_reasons} more)" if more_reasons > 0 else "")
            row["kind"] = _kind([r.reason for r in error.refused])
            return row, None
        except SutureError as error:
            row |= {"reason": error.what.replace("\n", "; ")[:300], "kind": _kind([error.what])}
            if "no code or data of it changes" in error.what:
                row |= {"outcome": "no code changes", "reason": "", "kind": ""}
            return (None, None) if "is not part of this kernel" in error.what else (row, None)
        row |= {"outcome": "made", "reason": "", "kind": ""}
        row["functions"] = [f"{f.object}:{f.name}" for f in made.manifest.functions]
        row |= {"seconds": time.monotonic() - began, "steps": dict(made.seconds), "keep": bool(made.manifest.keep)}
        return row, made


def _missing(said: str) -> set[str]:
    """Names that the compiler does not know."""
    return set(re.findall(r"(?:declaration of function|named|type name|error:|struct) \W(?:struct )?(\w+)\W", said))


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
        ("is found", "the code does not match"),
    ):
        if any(words in r for r in reasons):
            return kind
    return "other"


if __name__ == "__main__":
    sys.exit(main())
