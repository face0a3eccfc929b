"""The picture service: nginx with TLS in front of php-fpm, both unmodified, with libgd in php-fpm's processes."""

from __future__ import annotations

import os
import socket
import subprocess
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType

from demo_files.packages import LIBRARY, Programs
from suture.command import run
from suture.error import SutureError

SCRIPT = Path(__file__).with_name("pictures.php")
USER = "www-data"  # in every Debian system (base-passwd)
STARTUP_SECONDS = 10.0
WORKERS = 2  # of php-fpm
LOCAL = "127.0.0.1"

NGINX_CONF = Path(__file__).with_name("nginx.conf.in")
_HTTP = "ssl_session_cache off; ssl_session_tickets off;"
_SERVER = """\
location / {{
            fastcgi_pass unix:{run}/php.sock;
            fastcgi_param REQUEST_METHOD $request_method;
            fastcgi_param CONTENT_TYPE $content_type;
            fastcgi_param CONTENT_LENGTH $content_length;
            fastcgi_param SCRIPT_FILENAME {run}/pictures.php;
        }}"""

FPM_CONF = """\
[global]
error_log = {run}/php.log
daemonize = no
[pictures]
user = {user}
listen = {run}/php.sock
listen.owner = {user}
pm = static
pm.max_children = {workers}
"""


class ServerFailed(SutureError):
    """nginx or php-fpm did not come up; the message has its last words."""


@dataclass(frozen=True)
class Running:
    """One process of the service."""

    pid: int
    name: str
    started: int  # clock ticks since boot: with the pid, the identity of a process


class Server:
    """Owns both programs while it is entered: they listen on 127.0.0.1:`port` and are gone afterwards.

    `certificate` is the service's own, made for this run. It writes below `folder`, which the workers (not root)
    must reach.
    """

    def __init__(self, programs: Programs, folder: Path | None = None) -> None:
        self.programs = programs
        self.port = _free_port()
        self._holder = tempfile.TemporaryDirectory(prefix="suture-demo-", dir=folder)
        self.run_folder = Path(self._holder.name)
        self.certificate, self._key = _make_identity(self.run_folder)
        self._programs: list[subprocess.Popen[bytes]] = []

    def __enter__(self) -> Server:
        self._prepare()
        try:
            env = {**os.environ, "LD_LIBRARY_PATH": self.programs.library_path}
            fpm = [str(self.programs.php), "--no-php-ini", "--define", f"extension={self.programs.php_gd}"]
            fpm += ["--fpm-config", str(self.run_folder / "fpm.conf")]
            nginx = [str(self.programs.nginx), "-p", str(self.run_folder), "-c", str(self.run_folder / "nginx.conf")]
            # -e: the log that the archive's build would open before it reads its configuration is the machine's own.
            for command in (fpm, [*nginx, "-e", str(self.run_folder / "nginx.log")]):
                quiet = subprocess.DEVNULL
                self._programs.append(subprocess.Popen(command, env=env, stdin=quiet, stdout=quiet, stderr=quiet))
            self._await()
        except BaseException:
            self._stop()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stop()

    def _prepare(self) -> None:
        (self.run_folder / "pictures.php").write_bytes(SCRIPT.read_bytes())
        (self.run_folder / "nginx.conf").write_text(
            nginx_configuration(self.run_folder, self.port, self.certificate, self._key)
        )
        (self.run_folder / "fpm.conf").write_text(FPM_CONF.format(run=self.run_folder, user=USER, workers=WORKERS))
        self.run_folder.chmod(0o755)

    def _await(self) -> None:
        """Until both answer with all workers; raises `ServerFailed` when one ends first or the time is over."""
        end = time.monotonic() + STARTUP_SECONDS
        while time.monotonic() < end:
            if any(program.poll() is not None for program in self._programs):
                break
            if (self.run_folder / "php.sock").exists() and _listens(self.port) and len(self.workers()) == WORKERS:
                return
            time.sleep(0.02)
        logs = [path.read_text().strip() for path in self.run_folder.glob("*.log")]
        raise ServerFailed("nginx or php-fpm did not start: " + "\n".join(filter(None, logs)), "see the lines above")

    def _stop(self) -> None:
        for program in self._programs:
            if program.poll() is None:
                program.terminate()
        for program in self._programs:
            try:
                program.wait(timeout=5)
            except subprocess.TimeoutExpired:
                program.kill()
                program.wait()
        self._programs.clear()
        self._holder.cleanup()

    def processes(self) -> list[Running]:
        """Every process of the service that has the library mapped, masters first."""
        masters = [program.pid for program in self._programs]
        found = []
        for pid in [*masters, *(child for master in masters for child in _children(master))]:
            if LIBRARY in Path(f"/proc/{pid}/maps").read_text():
                found.append(_identify(pid))
        return found

    def workers(self) -> set[int]:
        """The pids of php-fpm's workers: those that open the pictures."""
        return set(_children(self._programs[0].pid))


def nginx_configuration(run: Path, port: int, certificate: Path, key: Path, address: str = LOCAL) -> str:
    """nginx with TLS in front of php-fpm; everything that it writes is in `run`."""
    values = {"run": run, "certificate": certificate, "key": key}
    server = _SERVER.format(**values)
    return NGINX_CONF.read_text().format(user=USER, address=address, port=port, http=_HTTP, server=server, **values)


def _make_identity(folder: Path) -> tuple[Path, Path]:
    """A key and a self-signed certificate for localhost in `folder`: (certificate, key)."""
    return make_identity(folder, ("DNS:localhost",))


def make_identity(folder: Path, names: Sequence[str]) -> tuple[Path, Path]:
    """A key and a self-signed certificate for names (as openssl writes them) in `folder`: (certificate, key)."""
    certificate, key = folder / "service.crt", folder / "service.key"
    request = "openssl req -x509 -newkey rsa:2048 -noenc -days 2 -subj /CN=localhost -addext"
    run([*request.split(), f"subjectAltName={','.join(names)}", "-keyout", str(key), "-out", str(certificate)])
    return certificate, key


def _children(pid: int) -> list[int]:
    return [int(word) for word in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]


def _identify(pid: int) -> Running:
    # proc(5): the name in parentheses may hold anything, so split after the last one; starttime is field 22.
    head, _, tail = Path(f"/proc/{pid}/stat").read_text().rpartition(")")
    return Running(pid, head.split("(", 1)[1], int(tail.split()[19]))


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def _listens(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0
