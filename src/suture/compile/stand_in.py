"""What stands in for compilers and archivers while a build is recorded: shell programs in front of PATH.

In a clean room they write down their arguments and only touch their outputs, so a whole package is recorded in seconds
with any make system, libtool included (what libtool calls is recorded). For a tree of a user's own they write down and
pass on. Questions to the compiler (`-E`, `-S`, `-M`, `-v` …) always go to the real one.
"""

from __future__ import annotations

import os
from importlib import resources
from pathlib import Path

_COMPILERS = [
    f"{p}{c}{v}"
    for p in ("", "x86_64-linux-gnu-")
    for c in ("gcc", "g++")
    for v in ("", "-10", "-11", "-12", "-13", "-14")
]
COMPILERS = (
    *_COMPILERS,
    "cc",
    "c++",
    "c99",
    "c89",
    *(f"clang{v}" for v in ("", "++", "-11", "-13", "-14", "-15", "-16", "-19")),
)
ARCHIVERS = tuple(
    f"{p}{a}" for p in ("", "x86_64-linux-gnu-", "gcc-", "x86_64-linux-gnu-gcc-", "llvm-") for a in ("ar", "ranlib")
)

STUB, PASS = "stub", "pass"

# what the stand-ins write into objects, into linked files, and into archives: one without members, which `nm` can read
MARK, PROGRAM, EMPTY = b"suture-object ", b"#!/bin/sh\n# suture-program\n", b"!<arch>\n"

# ninja takes no options from the environment; this one goes on after a step that failed, as make does with -k
_NINJA = '#!/bin/sh\nexec /usr/bin/ninja -k 0 "$@"\n'


def _own(name: str) -> str:
    """A shell program that comes with the package."""
    return (resources.files("suture.compile") / name).read_text()


def install(folder: Path) -> None:
    """Write the stand-ins into an empty folder, to be put in front of PATH."""
    script = folder / "sh"
    script.write_text(_own("stand-in.sh"))
    script.chmod(0o755)
    for name in (*COMPILERS, *ARCHIVERS):
        os.link(script, folder / name)
    script.unlink()


def keep_going(folder: Path) -> None:
    """Write beside the stand-ins a ninja that does all it can when a step fails, and what makes a program for real that
    the build runs."""
    for name, text in (("ninja", _NINJA), ("suture-realize", _own("realize.sh"))):
        (folder / name).write_text(text)
        (folder / name).chmod(0o755)


def environment(log: str, mode: str, path: str, tools: str = "") -> dict[str, str]:
    """Variables that the stand-ins need: folder of the log, `STUB` or `PASS`, and PATH without the stand-ins."""
    kept = {"SUTURE_RECORD_TOOLS": tools} if tools else {}
    return {"SUTURE_RECORD": log, "SUTURE_RECORD_MODE": mode, "SUTURE_RECORD_PATH": path, **kept}
