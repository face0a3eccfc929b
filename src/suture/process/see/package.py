"""Which Debian package a file of a process's root belongs to, and the version that dpkg says is installed there.

The database is dpkg's own, in var/lib/dpkg of that root: `status` (deb-control(5)) and the lists of files in `info`.
The root may be a container's, whose owner writes there what they like: only regular files inside the root are read,
each bounded, and what does not look like a name or a version is none. Diversions (dpkg-divert(1)) are not followed.
"""

from __future__ import annotations

import os
import re
import stat
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass

from suture.process.see.rooted import open_below, open_regular

_STATUS, _INFO = "/var/lib/dpkg/status", "/var/lib/dpkg/info"
_MOST_STATUS, _MOST_LIST, _MOST_LISTS_TOGETHER = 64 << 20, 16 << 20, 64 << 20
_MOST_PACKAGES = 1 << 17
_NAME = re.compile(rb"[a-z0-9][a-z0-9+.-]{1,200}\Z")  # Debian policy 5.6.1
_VERSION = re.compile(rb"[0-9A-Za-z][0-9A-Za-z.+:~-]{0,200}\Z")  # and 5.6.12
_kept: dict[tuple[int, int, int], Sequence[tuple[bytes, bytes]]] = {}
_MERGED = re.compile(rb"/(?:bin|sbin|lib(?:32|64|x32|o32)?)/")


@dataclass(frozen=True)
class InstalledPackage:
    """A package by name and installed version, "" for what is not known."""

    name: str = ""
    version: str = ""


def package_of(top: int, path: str, name: str = "") -> InstalledPackage:
    """The package of a file in the root that is open as `top`; with a name that one. Raises OSError where dpkg's files
    can't be read."""
    known = name.encode(errors="replace") or _owner(top, os.fsencode(path))
    return InstalledPackage(known.decode(), _version(top, known)) if _NAME.match(known) else InstalledPackage()


def _owner(top: int, path: bytes) -> bytes:
    """The package that lists a path, empty for none. /usr/lib and /lib are one where the file system is merged."""
    wanted = [b"\n%s\n" % p for p in _spellings(path)]
    for name, text in _lists(top):
        if any(w in text for w in wanted):
            return name.removesuffix(b".list").partition(b":")[0]
    return b""


def _spellings(path: bytes) -> Iterator[bytes]:
    yield path
    bare = path.removeprefix(b"/usr")
    if _MERGED.match(bare):
        yield bare if bare != path else b"/usr" + path


def _lists(top: int) -> Sequence[tuple[bytes, bytes]]:
    """Name and text of each list. Those of one root are kept: in most scans all processes have the same."""
    folder = open_below(top, _INFO, os.O_RDONLY | os.O_DIRECTORY)
    try:
        facts = os.fstat(folder)
        key = (facts.st_dev, facts.st_ino, facts.st_mtime_ns)
        if key not in _kept:
            _kept.clear()
            _kept[key] = list(_read_lists(folder))
        return _kept[key]
    finally:
        os.close(folder)


def _read_lists(folder: int) -> Iterator[tuple[bytes, bytes]]:
    left = _MOST_LISTS_TOGETHER
    for name in sorted(os.listdir(folder))[:_MOST_PACKAGES]:
        if not name.endswith(".list"):
            continue
        text = b""
        with suppress(OSError):
            text = _text(folder, name, _MOST_LIST)
        left -= len(text)
        if left < 0:
            return
        yield os.fsencode(name), text


def _text(folder: int, name: str, most: int) -> bytes:
    fd = os.open(name, os.O_RDONLY | os.O_NONBLOCK | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=folder)
    try:
        return _whole(fd, most)
    finally:
        os.close(fd)


def _whole(fd: int, most: int) -> bytes:
    """All of a regular file; empty for anything else, and for one that is longer than `most`."""
    facts = os.fstat(fd)
    if not stat.S_ISREG(facts.st_mode) or facts.st_size > most:
        return b""
    return os.pread(fd, facts.st_size, 0)


def _version(top: int, name: bytes) -> str:
    """The installed version of a package, "" where dpkg does not call it installed."""
    fd = open_regular(top, _STATUS)
    try:
        text = b"\n\n" + _whole(fd, _MOST_STATUS) + b"\n"
    finally:
        os.close(fd)
    at = text.find(b"\n\nPackage: %s\n" % name)
    while at >= 0:
        stanza = text[at + 2 : text.find(b"\n\n", at + 2)]
        fields = dict(row.split(b": ", 1) for row in stanza.split(b"\n") if row[:1].isalpha() and b": " in row)
        version = fields.get(b"Version", b"")
        if fields.get(b"Status", b"").endswith(b" installed") and _VERSION.match(version):
            return version.decode()
        at = text.find(b"\n\nPackage: %s\n" % name, at + 2)
    return ""
