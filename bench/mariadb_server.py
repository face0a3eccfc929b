"""The archive's MariaDB server and its client library, run from their unpacked packages: nothing is installed on this
machine.

The server listens on a socket in a folder of its own; its system tables are made by its own bootstrap mode.
"""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from suture.progress import Progress
from suture.source.archive import Archive

RELEASE = "bookworm"
PACKAGE = "mariadb-server-core"
_LIBRARIES = ("liburing2", "libaio1", "libnuma1", "libpcre2-8-0", "libssl3", "libsystemd0", "zlib1g", "libstdc++6")
_TABLES = ("mysql_system_tables.sql", "mysql_performance_tables.sql", "mysql_system_tables_data.sql")
_HEAD = "create database mysql;\nuse mysql;\nset @auth_root_socket=NULL;\nset @skip_auth_anonymous=1;\n"


class NotStarted(Exception):
    """The server did not come up; the message is the end of its log."""


@dataclass(frozen=True)
class Installed:
    """`root` holds the server's package, `libraries` is its LD_LIBRARY_PATH, `client` the folder that has pymysql."""

    root: Path
    libraries: str
    client: Path
    client_version: str

    @property
    def program(self) -> Path:
        return self.root / "usr/sbin/mariadbd"


def install(version: str, progress: Progress) -> Installed:
    """Fetch and unpack. Raises what `Archive` raises."""
    archive = Archive(RELEASE, progress)
    folders = []
    for package in _LIBRARIES:
        root = archive.binary(package, archive.binaries(package)[-1].version)
        folders += [str(root / at) for at in ("usr/lib/x86_64-linux-gnu", "lib/x86_64-linux-gnu")]
    client_version = archive.binaries("python3-pymysql")[0].version
    client = archive.binary("python3-pymysql", client_version) / "usr/lib/python3/dist-packages"
    return Installed(archive.binary(PACKAGE, version), ":".join(folders), client, client_version)


@dataclass(frozen=True)
class Server:
    """A running server."""

    pid: int
    socket: Path


@contextmanager
def running(installed: Installed, folder: Path, connections: int) -> Iterator[Server]:
    """A new, empty server in a folder; it ends with the block. Raises NotStarted."""
    for name in ("data", "tmp"):
        (folder / name).mkdir()
    share = installed.root / "usr/share/mysql"
    common = [
        str(installed.program),
        "--no-defaults",
        "--user=root",
        f"--datadir={folder / 'data'}",
        f"--lc-messages-dir={share}",
        f"--basedir={installed.root / 'usr'}",
        f"--tmpdir={folder / 'tmp'}",
    ]
    env = {**os.environ, "LD_LIBRARY_PATH": installed.libraries}
    tables = _HEAD.encode() + b"".join((share / name).read_bytes() for name in _TABLES)
    first = subprocess.run(
        [*common, "--bootstrap", "--log-warnings=0"], input=tables, env=env, capture_output=True, check=False
    )
    if first.returncode:
        raise NotStarted(first.stderr.decode(errors="replace")[-2000:])
    socket, log = folder / "socket", folder / "log"
    rest = [
        f"--socket={socket}",
        "--skip-networking",
        f"--max-connections={connections + 20}",
        "--table-open-cache=4000",
    ]
    with log.open("wb") as out:
        process = subprocess.Popen([*common, *rest], env=env, stdout=out, stderr=out)
    try:
        deadline = time.monotonic() + 120
        while "ready for connections" not in log.read_text(errors="replace"):
            if process.poll() is not None or time.monotonic() > deadline:
                raise NotStarted(log.read_text(errors="replace")[-2000:])
            time.sleep(0.05)
        yield Server(process.pid, socket)
        if process.poll() is not None:
            raise NotStarted(f"the server ended: {log.read_text(errors='replace')[-2000:]}")
    finally:
        process.terminate()
        try:
            process.wait(60)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def client_on_path(folder: Path) -> None:
    """Let `import pymysql` find the archive's package."""
    if str(folder) not in sys.path:
        sys.path.insert(0, str(folder))
