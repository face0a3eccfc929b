"""Making twice gives the same bytes, wherever and under whatever hash seed it is done."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

SOURCE = """
#include <string.h>
static long a, b, c;
static const char *const words[] = {"one", "two", "three"};
long f(long x) { switch (x) { case 0: a++; return 1; case 1: return b; case 2: return strlen(words[1]);
    case 3: c = 4; return 5; case 4: return 77; } return a; }
long g(long x) { return strlen(words[x]) + a; }
long h(long x) { return f(x) + g(x) + b; }
"""
PROGRAM = """
import hashlib
import sys
from pathlib import Path
from suture.delta.atom import AtomObject
from suture.delta.change import UnitChange
from suture.delta.compare import difference
from suture.elf.file import ElfFile
from suture.match.correlate import correlate
from suture.match.run import Run
from suture.make.build import build
from suture.patch.manifest import Target
folder = Path(sys.argv[1])
read = lambda stage, variant: ElfFile.read(folder / stage / f"a.c.{variant}.o")
run = Run.read(folder / "libshipped.so")
delta = difference(AtomObject(read("pre", "COMPARE")), AtomObject(read("post", "COMPARE")))
match = correlate("a.c", "a.c.o", read("pre", "PLAIN"), read("pre", "SECTIONS"), run)
change = UnitChange("a.c", "a.c.o", AtomObject(read("pre", "SECTIONS")), AtomObject(read("post", "SECTIONS")),
    delta, match)
built = build("p-1", Target(run.elf.build_id, "libshipped.so", "p", "p", "1", "x86_64"), [change],
    run, [], lambda name: None, {}, {})
print(hashlib.sha256(built.data).hexdigest())
"""


def test_the_same_patch_comes_out_of_any_folder_and_any_hash_seed(package: Any, tmp_path: Path) -> None:
    fixed = SOURCE.replace("return 77", "return 78 + strlen(words[2])").replace(
        "+ a; }", '+ a + strlen("new" + (x & 1)); }'
    )
    made = package(SOURCE, fixed.replace("+ b; }", "+ b * 2; }"), "f g h")
    made.patch()
    seen = set()
    for seed, where in (("0", tmp_path), ("1", Path("/")), ("4242", made.folder)):
        env = {**os.environ, "PYTHONHASHSEED": seed, "PYTHONPATH": os.pathsep.join(p for p in sys.path if p)}

        out = subprocess.run(
            [sys.executable, "-c", PROGRAM, str(made.folder)],
            check=True,
            capture_output=True,
            text=True,
            cwd=where,
            env=env,
        )
        seen.add(out.stdout)
    assert len(seen) == 1
