"""What runs, with its packages."""

from __future__ import annotations

import os

from suture.agent.mapped import MappedPackages
from suture.process.see.find import every_process


def test_a_library_of_this_process_is_there_with_its_package() -> None:
    found = [p for p in every_process()[0] if p.pid == os.getpid()]
    rows = MappedPackages().binaries(found * 2)
    libc = next(r for r in rows if r.path.endswith("/libc.so.6"))
    assert (libc.processes, libc.package) == (2, "libc6") and libc.version[0].isdigit()
