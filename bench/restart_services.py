"""The services of `bench/restart`: how each is restarted, brought up anew on the fly, and patched; and a connection to
it."""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import ssl
import subprocess
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory

from postgresql_server import Server, Session, cluster
from steady_load import Conversation, Lost
from target import NotMeasured
from tls_load import Client, Target
from tls_service import Programs, listens, nginx_configuration, prepare

_PATIENCE = 10.0
_STOP_SECONDS = 5.0  # as Debian's nginx.service waits before it ends what is left


class Tls:
    """A kept connection to nginx."""

    def __init__(self, client: Client) -> None:
        self._client = client
        try:
            plain = socket.create_connection(("127.0.0.1", client.target.port), _PATIENCE)
            self._secured = client.contexts[0].wrap_socket(plain, server_hostname="localhost")
        except OSError as problem:
            raise Lost(f"connect: {type(problem).__name__}") from problem

    def ask(self) -> None:
        try:
            self._client.ask(self._secured, last=False)
        except ssl.SSLError as problem:
            raise Lost(f"request: {problem.reason}") from problem
        except (OSError, ValueError) as problem:
            raise Lost(f"request: {type(problem).__name__}") from problem

    def close(self) -> None:
        self._secured.close()


class Nginx:
    """nginx with two workers, whose library folder is a link, so that a newer library can take the old one's place."""

    name = "nginx"

    def __init__(self, folder: Path, old: Programs, new: Programs) -> None:
        self._folder, self._old, self._new = folder, old, new
        self._link = folder / "libraries"
        self._target: Target = prepare(folder, 1)
        # as Debian's unit runs it; a master in the foreground takes no USR2. A second master gets only what env names.
        text = nginx_configuration(folder, self._target.port).replace("daemon off;", "daemon on; env LD_LIBRARY_PATH;")
        (folder / "nginx.conf").write_text(text)
        self.install(old)

    def install(self, programs: Programs) -> None:
        """The library of `programs` takes the place of the one before; who runs keeps what it has mapped."""
        fresh = self._folder / "fresh"
        fresh.symlink_to(programs.libraries)
        fresh.replace(self._link)

    def start(self) -> None:
        env = {**self._old.env, "LD_LIBRARY_PATH": ":".join(str(p) for p in (self._link, *self._old.more))}
        words = [
            self._old.nginx,
            "-p",
            self._folder,
            "-c",
            self._folder / "nginx.conf",
            "-e",
            self._folder / "nginx.log",
        ]
        subprocess.run(list(map(str, words)), env=env, cwd=self._folder, check=True, stderr=subprocess.DEVNULL)
        _until(lambda: listens(self._target.port) and bool(self._master()), "nginx did not start")

    @property
    def pids(self) -> list[int]:
        first = self._master()
        return [first, *(int(x) for x in Path(f"/proc/{first}/task/{first}/children").read_text().split())]

    def _master(self) -> int:
        """0 while nobody has written its number."""
        try:
            return int((self._folder / "nginx.pid").read_text() or 0)
        except FileNotFoundError:
            return 0

    def connect(self) -> Conversation:
        return Tls(Client(self._target))

    def quit(self) -> None:
        """A graceful stop; what is left after 5 s is ended."""
        first = self.pids[0]
        os.kill(first, signal.SIGQUIT)
        end = time.monotonic() + _STOP_SECONDS
        while _lives(first) and time.monotonic() < end:
            time.sleep(0.01)
        if _lives(first):
            os.kill(first, signal.SIGTERM)
            _until(lambda: not _lives(first), "nginx did not end")

    def restart(self) -> None:
        """With the new library in place of the old one."""
        self.install(self._new)
        self.quit()
        self.start()

    def on_the_fly(self) -> None:
        """nginx's own way to a new executable: a second master takes the sockets over, then the first one ends."""
        self.install(self._new)
        first = self.pids[0]
        os.kill(first, signal.SIGUSR2)
        before = self._folder / "nginx.pid.oldbin"
        _until(lambda: before.exists() and self._master() > 0 and len(self.pids) > 2, "no second master")
        os.kill(first, signal.SIGQUIT)
        _until(lambda: not _lives(first), "the first master did not end")

    def again(self) -> None:
        """Back to the old library."""
        self.install(self._old)
        self.quit()
        self.start()

    def has_new(self) -> bool:
        """Whether all processes run the new library."""
        new = str((self._new.libraries / "libcrypto.so.3").resolve())
        return all(new in Path(f"/proc/{p}/maps").read_text() for p in self.pids)


class Psql:
    """A kept connection to PostgreSQL: psql of the archive, so libpq."""

    def __init__(self, server: Server) -> None:
        try:
            self._session = Session(server)
        except (NotMeasured, OSError) as problem:
            raise Lost(f"connect: {str(problem)[-120:]}") from problem

    def ask(self) -> None:
        try:
            answer = self._session.ask(
                "update visits set n = n + 1 where id = 1 + pg_backend_pid() % 1000 returning n > 0"
            )
        except (NotMeasured, OSError) as problem:
            raise Lost(f"request: {str(problem)[-120:]}") from problem
        if answer != "t":
            raise Lost(f"request: {answer[-120:]}")

    def close(self) -> None:
        with contextlib.suppress(Exception):
            self._session.__exit__()


class PostgreSql:
    """A cluster; it is restarted from the same files."""

    name = "PostgreSQL"

    def __init__(self, server: Server) -> None:
        self._server = server
        with Session(server) as session:
            session.ask("create table visits as select id, 0 as n from generate_series(1, 1000) id")
            session.ask("create unique index on visits (id)")

    @property
    def pids(self) -> list[int]:
        return []  # `suture apply` finds all

    def connect(self) -> Conversation:
        return Psql(self._server)

    def restart(self) -> None:
        self._server = self._server.restart()

    def again(self) -> None:
        pass

    def has_new(self) -> bool:
        return True


@contextmanager
def nginx(old: Programs, new: Programs) -> Iterator[Nginx]:
    with TemporaryDirectory(prefix="suture-restart-") as name:
        service = Nginx(Path(name), old, new)
        service.start()
        try:
            yield service
        finally:
            service.quit()


@contextmanager
def postgresql(say: Callable[[str], None], options: Sequence[str] = ()) -> Iterator[PostgreSql]:
    with cluster(options, say) as server:
        yield PostgreSql(server)


def _lives(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except (FileNotFoundError, ProcessLookupError):
        return False


def _until(done: Callable[[], bool], otherwise: str) -> None:
    end = time.monotonic() + _PATIENCE
    while not done():
        if time.monotonic() > end:
            raise NotMeasured(otherwise)
        time.sleep(0.005)
