"""Fuzzing of all that reads bytes from outside, guided by coverage (atheris): --help and docs/results/attacks.md."""

from __future__ import annotations

import argparse
import json
import mmap
import os
import random
import struct
import subprocess
import sys
import time
from pathlib import Path

sys.path[:0] = [str(Path(__file__).parents[2]), str(Path(__file__).parents[2] / "src")]
_COUNTS = struct.Struct("<QQ")
_MOST_BYTES = 1 << 16


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument(
        "--inputs", type=int, default=1_000_000, help="inputs in all, shared out among the targets (1,000,000)"
    )
    parser.add_argument("--target", action="append", help="only this one; may be given again")
    parser.add_argument(
        "--seed", type=int, default=1, help="the same seed gives the same inputs, but for what coverage changes (1)"
    )
    parser.add_argument(
        "--folder", type=Path, default=Path.home() / ".cache/suture/fuzz", help="where corpus and faults go"
    )
    parser.add_argument("--one", help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.one:
        _fuzz(args.one, args.inputs, args.seed, args.folder)
        return 0
    from tests.fuzz.target import TARGETS

    names = args.target or list(TARGETS)
    whole = sum(TARGETS[n].share for n in names)
    faults = 0
    for name in names:
        runs = max(1, args.inputs * TARGETS[name].share // whole)
        row = _child(name, runs, args.seed, args.folder)
        faults += int(str(row["faults"]))
        print(json.dumps(row), flush=True)
    return 1 if faults else 0


def _child(name: str, runs: int, seed: int, folder: Path) -> dict[str, object]:
    """Fuzz one target in a process of its own."""
    place = folder / name
    (place / "faults").mkdir(parents=True, exist_ok=True)
    before = set((place / "faults").iterdir())
    begin = time.monotonic()
    argv = [
        sys.executable,
        __file__,
        "--one",
        name,
        "--inputs",
        str(runs),
        "--seed",
        str(seed),
        "--folder",
        str(folder),
    ]
    with open(place / "log", "wb") as log:
        status = subprocess.run(argv, stdout=log, stderr=log, check=False).returncode
    made, accepted = _COUNTS.unpack((place / "counts").read_bytes()[: _COUNTS.size])
    new = sorted(set((place / "faults").iterdir()) - before)
    done = [line for line in (place / "log").read_text(errors="replace").splitlines() if "cov:" in line]
    return {
        "target": name,
        "inputs": made,
        "accepted": accepted,
        "seconds": round(time.monotonic() - begin),
        "coverage": done[-1].split("cov: ")[1].split()[0] if done else "",
        "faults": len(new) or int(status != 0),
        "kept": [str(p) for p in new],
    }


def _fuzz(name: str, runs: int, seed: int, folder: Path) -> None:
    import atheris

    with atheris.instrument_imports(include=["suture"]):
        from tests.fuzz.target import try_one
    from tests.fuzz.mutation import mutated
    from tests.fuzz.seed import seeds

    place = folder / name
    corpus = place / "corpus"
    corpus.mkdir(parents=True, exist_ok=True)
    honest = seeds(name)
    for n, data in enumerate(honest):
        (corpus / f"seed-{n}").write_bytes(data)
    (place / "counts").write_bytes(bytes(mmap.PAGESIZE))
    with open(place / "counts", "r+b") as file:
        counts = mmap.mmap(file.fileno(), mmap.PAGESIZE)

    def one(data: bytes) -> None:
        made, accepted = _COUNTS.unpack_from(counts)
        _COUNTS.pack_into(counts, 0, made + 1, accepted)
        if try_one(name, data):
            _COUNTS.pack_into(counts, 0, made + 1, accepted + 1)

    def change(data: bytes, most: int, number: int) -> bytes:
        rng = random.Random(number)
        if rng.random() < 0.3:
            return bytes(atheris.Mutate(data, most))
        # what coverage keeps is mostly refused early; half of the inputs begin at an honest one
        return mutated(name, rng.choice(honest) if rng.random() < 0.5 else data, rng)[:most]

    options = [
        f"-runs={runs}",
        f"-seed={seed}",
        f"-max_len={_MOST_BYTES}",
        "-timeout=30",
        "-rss_limit_mb=2048",
        "-len_control=0",
    ]
    atheris.Setup([sys.argv[0], *options, f"-artifact_prefix={place}/faults/", str(corpus)], one, custom_mutator=change)
    os.environ.setdefault("PYTHONHASHSEED", "0")
    atheris.Fuzz()


if __name__ == "__main__":
    sys.exit(main())
