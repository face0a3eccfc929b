"""The archive's PostgreSQL in a chroot of its own release: a cluster that ends with the context, and clients in the
same room.

The server's packages are installed from the archive as they are. Data and sockets lie in memory of the room; nothing is
left behind.
"""

from __future__ import annotations

import os
import shlex
import subprocess
import tempfile
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

from target import NotMeasured

from suture.command import CommandFailed
from suture.compile import room
from suture.elf.file import ElfFile
from suture.number import BuildId
from suture.process.see.find import find
from suture.progress import Progress
from suture.source import cache
from suture.source.archive import archive_for

SOURCE, OLD, NEW = "postgresql-13", "13.16-0+deb11u1", "13.23-0+deb11u4"
_PACKAGES = ("postgresql-13", "postgresql-client-13", "libpq5")
_BIN = "/usr/lib/postgresql/13/bin"
_TALK = "/talk"
_START_SECONDS, _END_SECONDS = 120.0, 60.0

# Arguments: server settings. Ends when a line comes through the pipe.
_SCRIPT = f"""
chown postgres {_TALK}
install --directory --owner=postgres --mode=700 /data
cd /data
as_postgres() {{ setpriv --reuid=postgres --regid=postgres --init-groups "$@"; }}
as_postgres {_BIN}/initdb --pgdata=/data/cluster --auth=trust --encoding=UTF8 --locale=C.UTF-8 --no-sync >/dev/null
as_postgres {_BIN}/pg_ctl --pgdata=/data/cluster --log={_TALK}/log --wait --options=@OPTIONS@ start >/dev/null
echo up >{_TALK}/ready
read -r line <{_TALK}/end
as_postgres {_BIN}/pg_ctl --pgdata=/data/cluster --wait --mode=fast stop >/dev/null
"""


@dataclass(frozen=True)
class Server:
    """A running cluster. `postmaster` is its process number, `first` that of the room's first process, which outlives a
    restart; `talk` is the folder that host and room share (`/talk` inside).
    """

    postmaster: int
    first: int
    build_id: str
    talk: Path

    @property
    def pids(self) -> list[int]:
        """All processes of the cluster, the postmaster first."""
        return sorted(find(BuildId(self.build_id)), key=lambda pid: (pid != self.postmaster, pid))

    def command(self, program: str, *words: str) -> list[str]:
        """A client's command line, to be run on the host: it enters the room."""
        return [*self._enter, f"{_BIN}/{program}", f"--host={_TALK}", "--username=postgres", *words]

    def restart(self) -> Server:
        """What `systemctl restart` does to the cluster: a fast stop, which ends all sessions, and a start. Returns when
        it answers."""
        as_postgres = ["setpriv", "--reuid=postgres", "--regid=postgres", "--init-groups"]
        words = [f"{_BIN}/pg_ctl", "--pgdata=/data/cluster", f"--log={_TALK}/log", "--wait", "--mode=fast", "restart"]
        subprocess.run([*self._enter, *as_postgres, *words], check=True, stdout=subprocess.DEVNULL)
        return replace(self, postmaster=_postmaster(self.build_id, self.talk))

    @property
    def _enter(self) -> list[str]:
        root = f"/proc/{self.first}/root"
        enter = ["nsenter", f"--target={self.first}", "--mount", "--pid", f"--root={root}", f"--wd={root}{_TALK}"]
        return [*enter, "env", "--ignore-environment", f"PATH={room.PATH}", "LC_ALL=C.UTF-8"]

    def log(self) -> str:
        """What the server has written."""
        return (self.talk / "log").read_text(errors="replace")


class Session:
    """One psql, so one backend, that is asked again and again. A context manager."""

    def __init__(self, server: Server, database: str = "postgres") -> None:
        argv = server.command(
            "psql",
            "--no-psqlrc",
            "--quiet",
            "--no-align",
            "--tuples-only",
            "--set=VERBOSITY=terse",
            f"--dbname={database}",
        )
        self._psql = subprocess.Popen(
            argv, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
        )
        self.backend = self.ask("select pg_backend_pid()")

    def ask(self, sql: str) -> str:
        """All that a statement answers, errors included, as one line. Raises NotMeasured when the backend is gone."""
        assert self._psql.stdin is not None and self._psql.stdout is not None
        self._psql.stdin.write(f"{sql};\n\\echo <end>\n")
        self._psql.stdin.flush()
        lines: list[str] = []
        for line in self._psql.stdout:
            if line == "<end>\n":
                return "; ".join(lines)
            lines.append(" ".join(line.split()))
        raise NotMeasured(f"the session ended: {'; '.join(lines)}")

    def __enter__(self) -> Session:
        return self

    def __exit__(self, *_: object) -> None:
        self._psql.communicate("\\q\n")


@contextmanager
def cluster(options: Sequence[str], say: Progress) -> Iterator[Server]:
    """A cluster of version OLD that runs until the context is left."""
    layers = _installed(say)
    with tempfile.TemporaryDirectory(prefix="suture-postgresql-") as name:
        talk = Path(name)
        talk.chmod(0o755)
        os.mkfifo(talk / "end")
        script = _SCRIPT.replace("@OPTIONS@", shlex.quote(" ".join(["-k", _TALK, "-c", "listen_addresses=", *options])))
        failed: list[CommandFailed] = []

        def run() -> None:
            try:
                layers.enter(script, binds=[(talk, _TALK)], rights=room.Rights.INSTALL)
            except CommandFailed as problem:
                failed.append(problem)

        thread = threading.Thread(target=run, daemon=True)
        thread.start()
        try:
            _until_ready(talk, thread, failed)
            yield _server(layers, talk)
        finally:
            if thread.is_alive():
                (talk / "end").write_text("end\n")
            thread.join(_END_SECONDS)
        if failed:
            raise NotMeasured(f"the server did not end as it should: {failed[0].what}")


def _until_ready(talk: Path, thread: threading.Thread, failed: Sequence[CommandFailed]) -> None:
    deadline = time.monotonic() + _START_SECONDS
    while not (talk / "ready").exists():
        if not thread.is_alive() or time.monotonic() > deadline:
            raise NotMeasured(f"the server did not start: {failed[0].what if failed else 'no answer'}")
        time.sleep(0.05)


def _server(layers: room.Room, talk: Path) -> Server:
    program = next(path for layer in layers.layers if (path := layer / f".{_BIN}/postgres").exists())
    build_id = ElfFile.read(program).build_id or ""
    postmaster = _postmaster(build_id, talk)
    return Server(postmaster, _parent(postmaster), build_id, talk)


def _postmaster(build_id: str, talk: Path) -> int:
    """Of the processes that see our folder, the one whose parent is none of them."""
    ours = [
        p
        for p in find(BuildId(build_id))
        if Path(f"/proc/{p}/root{_TALK}/ready").exists() and (talk / "ready").samefile(f"/proc/{p}/root{_TALK}/ready")
    ]
    return next(p for p in ours if _parent(p) not in ours)


def _parent(pid: int) -> int:
    return int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[1])


def _installed(say: Progress) -> room.Room:
    """The release's base with the server's packages of version OLD, made once."""
    archive = archive_for(SOURCE, OLD)
    base = room.base(archive, say)
    place = cache.root() / "layer" / f"{SOURCE}-{OLD}-installed"

    def make(folder: Path) -> None:
        say(f"installing {SOURCE} {OLD}")
        base.install(["install", *(f"{name}={OLD}" for name in _PACKAGES)], archive, folder)

    return base.with_layer(cache.item(place, make))
