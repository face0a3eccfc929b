"""Made ready beside the first tests: what the tests of the normal run want of the archive, side by side, with a lower
priority than theirs.

`python -m tests.rooms` fills the cache and nothing else; `./test` starts it first of all. It decides nothing: a test
that finds something missing makes it, and one that finds it being made waits for it. So whatever fails here fails
there, and is told there.
"""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import partial

from demo_files import packages
from suture.compile import recipe, room
from suture.compile.preparation import prepare
from suture.compile.room import Room
from suture.error import SutureError
from suture.source.archive import Archive, archive_for

# Source packages and units of them whose objects tests/compile/test_archive_objects.py finds in the shipped binaries.
CASES = [
    ("openssl=3.0.17-1~deb12u2", ["crypto/cms/cms_pwri.c", "crypto/x509/v3_addr.c", "ssl/t1_lib.c"]),
    (
        "glibc=2.36-9+deb12u7",
        ["stdlib/qsort.c", "posix/wordexp.c", "resolv/res_send.c", "resolv/ns_print.c", "elf/dl-load.c"],
    ),
    ("libxml2=2.9.14+dfsg-1.3~deb12u4", ["catalog.c", "xpath.c"]),
    ("expat=2.5.0-1+deb12u2", ["src/lib/xmlparse.c"]),
    ("zlib=1:1.2.13.dfsg-1", ["inflate.c"]),
    ("postgresql-15=15.18-0+deb12u1", ["src/backend/executor/nodeAgg.c", "src/interfaces/libpq/fe-exec.c"]),
]

# As many at a time as there is something else to do while one waits for the network and one for a disk.
_AT_A_TIME = 4
_LIBXML2_FIXED = "2.9.14+dfsg-1.3~deb12u6"  # the fixes of tests/live/test_coverage.py are from its series


def tree(spec: str) -> None:
    """A source's configured tree, and the binaries that were built from it."""
    name, _, version = spec.partition("=")
    archive = archive_for(name, version)
    made = prepare(archive.source(name, version))
    for package in dict.fromkeys(b.package for b in made.binaries):
        archive.binary(package, version)


def room_of(spec: str) -> Room:
    """A source's clean room: most of its time goes by in waiting for downloads."""
    name, _, version = spec.partition("=")
    archive, known = archive_for(name, version), recipe.load(name)
    return room.for_source(archive.source(name, version), archive, known.profiles, known.versions)


def work() -> list[tuple[str, Callable[[], object]]]:
    """What is wanted, in the order in which it is begun: downloads first, since tests keep the processors busy."""
    specs = [spec for spec, _ in CASES]
    return [
        *((f"room {spec}", partial(room_of, spec)) for spec in specs),
        ("the demo's programs", packages.fetch),
        ("libxml2 fixed", lambda: Archive("bookworm").source("libxml2", _LIBXML2_FIXED)),
        *((f"tree {spec}", partial(tree, spec)) for spec in specs),
    ]


def main() -> int:
    os.nice(5)
    begun = time.monotonic()

    def do(name: str, step: Callable[[], object]) -> None:
        at = time.monotonic()
        try:
            step()
            said = "ready"
        except SutureError as error:
            said = f"left to the tests: {error.what.splitlines()[0][:200]}"
        now = time.monotonic()
        print(f"rooms: [{now - begun:.0f} s] {name}: {said} after {now - at:.0f} s", flush=True)

    with ThreadPoolExecutor(_AT_A_TIME) as workers:
        list(workers.map(lambda pair: do(*pair), work()))
    return 0


if __name__ == "__main__":
    sys.exit(main())
