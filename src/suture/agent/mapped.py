"""What runs here, with the packages that it is from."""

from __future__ import annotations

import os
from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from functools import cache
from itertools import islice

from suture.process.see.find import Found
from suture.process.see.package import InstalledPackage, package_of
from suture.process.see.rooted import open_root
from suture.report.agent import MappedBinary

_MOST_ASKED = 8
_Root = tuple[int, int]
"""Device and inode of a process's root."""


class MappedPackages:
    """The package of a build-id, asked for once. The first process that has it may be one of a container without dpkg,
    or end before it is asked: so others are asked until one knows, each root once, eight of them in a look."""

    def __init__(self) -> None:
        self._known: dict[str, InstalledPackage] = {}
        self._unknown: set[tuple[str, _Root]] = set()

    def binaries(self, found: Sequence[Found]) -> list[MappedBinary]:
        """What these processes have mapped, by build-id."""
        holders: dict[str, dict[int, str]] = defaultdict(dict)
        for process in found:
            for image in process.images:
                if image.build_id:
                    holders[image.build_id].setdefault(process.pid, image.path)
        self._known = {b: p for b, p in self._known.items() if b in holders}
        self._unknown = {(b, root) for b, root in self._unknown if b in holders}
        root_of = cache(_root_of)
        for build_id in holders.keys() - self._known.keys():
            self._ask(build_id, holders[build_id], root_of)
        return [self._binary(b, paths) for b, paths in sorted(holders.items())]

    def _binary(self, build_id: str, paths: Mapping[int, str]) -> MappedBinary:
        package = self._known.get(build_id, InstalledPackage())
        return MappedBinary(build_id, next(iter(paths.values())), len(paths), package.name, package.version)

    def _ask(self, build_id: str, paths: Mapping[int, str], root_of: Callable[[int], _Root | None]) -> None:
        roots = ((root_of(pid), pid, path) for pid, path in paths.items())
        new = (row for row in roots if row[0] is not None and (build_id, row[0]) not in self._unknown)
        for root, pid, path in islice(new, _MOST_ASKED):
            package = _installed(pid, path)
            if package is None or root is None:
                continue
            if package.name:
                self._known[build_id] = package
                return
            self._unknown.add((build_id, root))


def _root_of(pid: int) -> _Root | None:
    """None for a process that has ended."""
    try:
        facts = os.stat(f"/proc/{pid}/root")
    except OSError:
        return None
    return facts.st_dev, facts.st_ino


def _installed(pid: int, path: str) -> InstalledPackage | None:
    """The package of a file as a process sees it; None where the process has ended."""
    try:
        top = open_root(f"/proc/{pid}/root")
    except OSError:
        return None
    try:
        return package_of(top, path)
    except OSError:
        return InstalledPackage()
    finally:
        os.close(top)
