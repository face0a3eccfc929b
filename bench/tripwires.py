"""Which tripwires real fixes get, whether a trigger of the hole raises one, and what a call costs. `bench/tripwires`
calls it.

The fixes and triggers are those of coverage/. A trigger enters its hole in a fork of the patched process and is held
behind it, so that the fork's counters can be read.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from call import timed
from facts import RESULTS, Start
from target import PROGRAMS, NotMeasured, started
from tripwires_page import DOCUMENT, document

from suture.command import run
from suture.error import SutureError
from suture.patch.file import PatchFile, read_patch
from suture.process.change.apply import apply

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT / "coverage"))

from fix import Fix, load_fixes  # noqa: E402
from row import Declined, suture  # noqa: E402
from subject import Files, NoAnswer, Subject, compile_trigger, fetch, mappings  # noqa: E402

_ANSWER = """\
#include "work.h"
__attribute__((noipa)) long answer(long x)
{
    return x * 3 + 1;
}
"""
_CHECK = ("    return x * 3 + 1;\n", "    if (x > 1000000)\n        return -1;\n    return x * 5 + 1;\n")
_MAKEFILE = """\
calls: answer.o calls.o
\tgcc -Wl,--build-id -o calls calls.o answer.o
%.o: %.c
\tgcc -O2 -c $<
"""


def main(words: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="bench/tripwires", description="Tripwires of real fixes, and what they cost.")
    parser.add_argument("names", nargs="*", metavar="NAME", help="fixes of coverage/fixes, printed only")
    parser.add_argument("--rounds", type=int, default=10, metavar="N", help="processes for each way to patch (10)")
    parser.add_argument("--blocks", type=int, default=20, metavar="N", help="blocks of 200,000 calls in each (20)")
    parser.add_argument("--into", type=Path, default=RESULTS, metavar="DIR", help="where the raw numbers are kept")
    args = parser.parse_args(words)
    start = Start.now("tripwires", words)
    fixes = [f for f in load_fixes() if f.trigger and (not args.names or f.name in args.names)]
    with tempfile.TemporaryDirectory(prefix="suture-tripwires-") as name:
        calls = {} if args.names else _calls(Path(name), args.rounds, args.blocks)
        rows = []
        for fix in fixes:
            rows.append(_row(fix, Path(name)))
            print(_text(rows[-1]), flush=True)
    if not args.names:
        record = start.finish({"rows": rows, "nanoseconds": calls, "rounds": args.rounds, "blocks": args.blocks})
        record.write(args.into)
        DOCUMENT.write_text(document(record))
    return 0


def _text(row: dict[str, Any]) -> str:
    fired = ", ".join(row["fired"]) or "none"
    return (
        f"{row['name']:28} {row['tripwires']} tripwires, {row['without']} places without, raised: {fired} {row['note']}"
    )


def _row(fix: Fix, folder: Path) -> dict[str, Any]:
    """One fix: its patches made with tripwires, applied, and its hole tried."""
    row: dict[str, Any] = {
        "name": fix.name, "hole": fix.hole, "cves": list(fix.cves), "tripwires": 0, "without": 0, "reasons": [],
        "fired": [], "made": False, "through": False, "note": "",
    }  # fmt: skip
    try:
        made = suture("make", *fix.make_arguments, "--tripwires", f"--output={tempfile.mkdtemp(dir=folder)}")
    except Declined as declined:
        return row | {"note": f"refused: {declined.what}"}
    paths = [Path(entry["path"]) for entry in made["patches"]]
    patches = [read_patch(path) for path in paths]
    row |= {
        "made": bool(patches),
        "tripwires": sum(len(p.manifest.tripwires) for p in patches),
        "without": sum(len(p.manifest.without_tripwire) for p in patches),
        "reasons": sorted({w.reason for p in patches for w in p.manifest.without_tripwire}),
    }
    try:
        files = fetch(fix.package, fix.package.version)
        return row | _tried(fix, files, folder, list(zip(paths, patches, strict=True)))
    except Declined as declined:
        return row | {"note": f"refused: {declined.what}"}
    except (NoAnswer, SutureError) as problem:
        return row | {"note": str(problem)}


def _tried(fix: Fix, files: Files, folder: Path, patches: list[tuple[Path, PatchFile]]) -> dict[str, Any]:
    assert fix.trigger is not None
    with Subject(compile_trigger(fix.program, files, folder), files) as process:
        for path, patch in patches:
            if _has(process.pid, patch):
                half = () if patch.manifest.is_complete else ("--accept-partial",)
                suture("apply", str(path), str(process.pid), *half)
        before = _counts(process.pid)
        fork = process.hold()
        fired = sorted(place for place, n in _counts(fork).items() if n > before.get(place, 0)) if fork else []
        outcome = process.ask_held()
    note = "" if outcome == fix.trigger.closed else f"the trigger says: {outcome}"
    return {"fired": fired, "through": fork is not None, "note": note}


def _has(pid: int, patch: PatchFile) -> bool:
    name = Path(patch.manifest.target.file).name
    return any(Path(m.name).name == name or Path(m.name).name.startswith(f"{name}.") for m in mappings(pid))


def _counts(pid: int) -> dict[str, int]:
    answer = suture("status", str(pid))
    rows = [r for p in answer["processes"] for r in p["tripwires"]]
    return {f"{r['wire']['file']}:{r['wire']['line']} {r['wire']['condition']}": r["count"] for r in rows}


def _calls(folder: Path, rounds: int, blocks: int) -> dict[str, list[float]]:
    """Nanoseconds of a call that is not rejected, by block: unpatched, patched, and patched with a tripwire."""
    tree = folder / "tree"
    tree.mkdir()
    for name in ("calls.c", "work.h"):
        (tree / name).write_bytes((PROGRAMS / name).read_bytes())
    (tree / "answer.c").write_text(_ANSWER)
    (tree / "Makefile").write_text(_MAKEFILE)
    run([sys.executable, "-m", "suture.cli", "record", "--", "make"], cwd=tree)
    run(["strip", "calls"], cwd=tree)
    (folder / "new.c").write_text(_ANSWER.replace(*_CHECK))
    labels = ["--label", "a/answer.c", "--label", "b/answer.c"]
    fix = run(["diff", "--unified", *labels, str(tree / "answer.c"), str(folder / "new.c")], accept=frozenset({0, 1}))
    (folder / "check.patch").write_text(fix)
    words = ("make", f"--tree={tree}", f"--binary={tree / 'calls'}", f"--fix={folder / 'check.patch'}")
    plain, wired = (
        read_patch(Path(suture(*words, *more, f"--output={folder}")["patches"][0]["path"]))
        for more in ((), ("--tripwires",))
    )
    if len(wired.manifest.tripwires) != 1:
        raise NotMeasured("the patch that is called has no tripwire")
    found: dict[str, list[float]] = {"unpatched": [], "patched": [], "with a tripwire": []}
    for _ in range(rounds):
        for state, patch in zip(found, (None, plain, wired), strict=True):
            with started([tree / "calls"], talks=True) as target:
                timed(target, 1, 4)  # it runs by then
                if patch is not None:
                    apply(target.pid, patch)
                found[state] += timed(target, blocks, 4 if patch is None else 6)
    return found


if __name__ == "__main__":
    sys.exit(main())
