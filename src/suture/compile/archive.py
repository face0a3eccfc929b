"""Objects and archives that lie in a built tree: which they are, what they hold, and of which compiled object one is a
copy."""

from __future__ import annotations

import posixpath
from collections.abc import Sequence
from pathlib import Path

from suture.compile.unit import Unit
from suture.elf.abi import ELFMAG, ET_REL
from suture.source import cache

SUFFIXES = (".a", ".o", ".lo", ".obj", ".os")
_MAGICS = (b"!<arch>\n", b"!<thin>\n")
_HEADER, _NAME, _SIZE = 60, slice(0, 16), slice(48, 58)
_TYPE = slice(16, 18)
_EXTRACTED = ".lax/"  # libtool(1) puts what it takes out of an archive there, and removes it again


def is_linked_in(path: Path) -> bool:
    """Whether a linker takes what is in a file into its output: an object or an archive; for one that is gone its name
    tells."""
    if not cache.is_plain(path):
        return not path.exists() and path.suffix in SUFFIXES
    with path.open("rb") as handle:
        head = handle.read(_HEADER)
    is_object = head.startswith(ELFMAG) and int.from_bytes(head[_TYPE], "little") == ET_REL
    return is_object or head.startswith(_MAGICS)


def members(path: Path) -> tuple[str, ...]:
    """Names of the members of an archive without their folders, none for another file (ar(5); GNU writes long names
    into a member `//`)."""
    if not cache.is_plain(path):
        return ()
    with path.open("rb") as handle:
        data = handle.read(len(_MAGICS[0]))
        if data not in _MAGICS:
            return ()
        data += handle.read()
    is_thin = data.startswith(_MAGICS[1])
    found: list[str] = []
    long = b""
    at = len(_MAGICS[0])
    while at + _HEADER <= len(data):
        header = data[at : at + _HEADER]
        name, size = header[_NAME].rstrip(), int(header[_SIZE])
        at += _HEADER
        if name == b"//":
            long = data[at : at + size]
        elif name not in {b"/", b"/SYM64/"}:
            whole = long[int(name[1:]) :].partition(b"/\n")[0] if name[:1] == b"/" else name.rstrip(b"/")
            found.append(posixpath.basename(whole.decode(errors="surrogateescape")))
            at -= size + size % 2 if is_thin else 0
        at += size + size % 2
    return tuple(found)


class KnownObjects:
    """The compiled objects of a tree, to be found again under other names that a build gave them."""

    def __init__(self, files: Path, units: Sequence[Unit]) -> None:
        self.files = files
        self.objects = frozenset(u.object for u in units)
        self.by_size: dict[int, list[str]] = {}
        for name in sorted(self.objects):
            if cache.is_plain(files / name):
                self.by_size.setdefault((files / name).stat().st_size, []).append(name)

    def of(self, name: str) -> tuple[str, ...]:
        """The compiled objects that a linked file is, or may be; itself if none."""
        path = self.files / name
        if name in self.objects:
            return (name,)
        if not cache.is_plain(path):
            same = [x for x in self.objects if posixpath.basename(x) == posixpath.basename(name)]
            return tuple(sorted(same)) if _EXTRACTED in name and same else (name,)
        rows = self.by_size.get(path.stat().st_size, ())
        return tuple(x for x in rows if (self.files / x).read_bytes() == path.read_bytes())[:1] or (name,)
