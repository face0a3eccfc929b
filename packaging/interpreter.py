"""A Python for releases whose own is too old: CPython 3.11 from Debian 12's source package, built in a clean room of
the release that it is for, with the libraries of that release.

It lies in a folder of Suture's own and nobody else finds it. What a host never needs is left out.
"""

from __future__ import annotations

import hashlib
import os
from pathlib import Path

from debian.debian_support import Version

from suture.compile import room
from suture.compile.room import Room
from suture.error import NotFound
from suture.progress import Progress
from suture.source import cache
from suture.source.archive import Archive, SourceVersion

PREFIX = "/usr/lib/suture/python"
COMMAND = f"{PREFIX}/bin/python3.11"
FROM, SOURCE = "bookworm", "python3.11"
_NEEDED = ("libssl-dev", "libffi-dev", "zlib1g-dev", "libbz2-dev", "liblzma-dev")
_LEFT_OUT = (
    "test",
    "idlelib",
    "lib2to3",
    "tkinter",
    "turtledemo",
    "turtle.py",
    "ensurepip",
    "venv",
    "distutils",
    "pydoc_data",
    "pydoc.py",
    "config-3.11*",
    "*/test",
    "*/tests",
    "unittest",
    "doctest.py",
    "sqlite3",
    "xmlrpc",
    "wsgiref",
    "curses",
    "dbm",
    "msilib",
    "crypt.py",
    "lib-dynload/_crypt*",
    "lib-dynload/nis*",
    "lib-dynload/_curses*",
    "lib-dynload/_dbm*",
    "lib-dynload/_gdbm*",
    "lib-dynload/_ctypes_test*",
    "lib-dynload/_test*",
    "lib-dynload/xxlimited*",
)
_SCRIPT = r"""
cp --recursive --no-preserve=ownership /source /tmp/python && cd /tmp/python
export SOURCE_DATE_EPOCH={epoch} CFLAGS='-g0 -O2 -fstack-protector-strong -D_FORTIFY_SOURCE=2 -fwrapv'
export LDFLAGS='-Wl,-z,relro -Wl,-z,now'
./configure --prefix={prefix} --without-ensurepip --disable-test-modules --without-static-libpython \
    --with-system-ffi >configure.out 2>&1 || {{ tail -20 configure.out; exit 1; }}
make --jobs={jobs} >make.out 2>&1 || {{ tail -20 make.out; exit 1; }}
make install DESTDIR=/tmp/tree >install.out 2>&1 || {{ tail -20 install.out; exit 1; }}
cd /tmp/tree{prefix}
rm --recursive --force include share lib/pkgconfig
find bin -mindepth 1 ! -name python3.11 -delete
cd lib/python3.11
rm --recursive --force {left_out}
find . -name '*.py' -exec sed -i '1s/^#!.*/#/' {{}} +
find /tmp/tree -name __pycache__ -prune -exec rm --recursive {{}} +
find /tmp/tree -type f \( -name '*.so' -o -name python3.11 \) -exec chmod 755 {{}} + -exec strip --strip-unneeded {{}} +
{command} -I -S -B -c 'import bz2, ctypes, hashlib, json, lzma, select, socket, ssl, tomllib, zlib' \
    || {{ tail -40 /tmp/python/make.out; exit 1; }}
cp --recursive /tmp/tree/. /output
""".replace("{command}", f"/tmp/tree{COMMAND}")


def source(progress: Progress, version: str = "") -> SourceVersion:
    """The source of `version`; without one the newest that the archive has, with its security updates."""
    archive = Archive(FROM, progress)
    if version:
        return archive.source(SOURCE, version)
    for listed in sorted({Version(entry.version) for entry in archive.sources(SOURCE)}, reverse=True):
        try:
            return archive.source(SOURCE, str(listed))
        except NotFound as gone:
            progress(gone.what)
    raise NotFound(f"the archive of {FROM} has no source of {SOURCE}", "name a version that it has: --python VERSION")


def building_room(archive: Archive, progress: Progress) -> Room:
    """The release's clean room with the libraries that Python is built with."""
    return room_with(archive, _NEEDED, progress)


def room_with(archive: Archive, packages: tuple[str, ...], progress: Progress) -> Room:
    """The release's clean room with these packages more; made once."""
    return room.with_packages(room.base(archive, progress), packages, archive, progress)


def interpreter(code: SourceVersion, archive: Archive, progress: Progress, again: bool = False) -> Path:
    """A folder that holds the files of the interpreter from / on, built from `code` for the release of `archive`;
    `again` builds it though it is there."""
    where = building_room(archive, progress)
    script = _SCRIPT.format(
        epoch=code.epoch_seconds, prefix=PREFIX, jobs=os.cpu_count() or 1, left_out=" ".join(_LEFT_OUT)
    )
    key = hashlib.sha256(f"{script} {code.version} {where.layers[0].name}".encode()).hexdigest()[:16]
    place = cache.root() / "interpreter" / f"{archive.release}-{key}"

    def make(folder: Path) -> None:
        progress(f"building Python {code.version} for {archive.release}; this takes some minutes")
        folder.mkdir()
        where.enter(script, binds=[(code.tree, "/source")], outputs=[(folder, "/output")])

    if again:
        cache.discard(place)
    return cache.item(place, make)
