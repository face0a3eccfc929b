"""What runs here, with the packages that it is from."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Sequence

from suture.process.see.find import Found
from suture.process.see.package import InstalledPackage, package_of
from suture.process.see.rooted import open_root
from suture.report.agent import MappedBinary


class MappedPackages:
    """The package of a build-id is asked for once."""

    def __init__(self) -> None:
        self._packages: dict[str, InstalledPackage] = {}

    def binaries(self, found: Sequence[Found]) -> list[MappedBinary]:
        """What these processes have mapped, by build-id."""
        counts = Counter(b for p in found for b in {i.build_id for i in p.images})
        first = {i.build_id: (p.pid, i.path) for p in reversed(found) for i in p.images}
        self._packages = {b: self._packages.get(b) or _installed(*first[b]) for b in counts if b}
        return [
            MappedBinary(b, first[b][1], n, self._packages[b].name, self._packages[b].version)
            for b, n in sorted(counts.items())
            if b
        ]


def _installed(pid: int, path: str) -> InstalledPackage:
    """The package of a file as a process sees it."""
    try:
        top = open_root(f"/proc/{pid}/root")
    except OSError:
        return InstalledPackage()
    try:
        return package_of(top, path)
    except OSError:
        return InstalledPackage()
    finally:
        os.close(top)
