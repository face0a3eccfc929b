"""TLS servers as the archive ships them, on an old libssl3: nginx with two workers, and `openssl s_server`.

Nothing is installed and no service of the machine is touched: packages are unpacked into folders of their own, the
servers listen on 127.0.0.1 at a port of their own and are gone afterwards.
"""

from __future__ import annotations

import os
import secrets
import socket
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from target import NotMeasured
from tls_load import Target

from suture.command import run
from suture.progress import Progress, silent
from suture.source.archive import Archive

RELEASE = "bookworm"
_LIBRARIES = "usr/lib/x86_64-linux-gnu"
_START_SECONDS = 20.0
_BODY_BYTES = 24_000  # more than one TLS record

NGINX_CONF = Path(__file__).parents[1] / "demo_files/nginx.conf.in"
_SERVER = """\
ssl_protocols TLSv1.2 TLSv1.3;
        ssl_client_certificate {run}/certificate.pem;
        ssl_verify_client optional;
        root {run}/pages;"""


@dataclass(frozen=True)
class Programs:
    """The archive's files. `libraries` is the folder that holds the old libcrypto and libssl."""

    nginx: Path
    openssl: Path
    libraries: Path
    more: tuple[Path, ...] = ()

    @classmethod
    def fetch(cls, version: str, progress: Progress = silent) -> Programs:
        """nginx of now, `openssl` and libssl3 of `version`. Raises `NotFound` when the archive lacks one."""
        archive = Archive(RELEASE, progress)
        newest = archive.binary("nginx", archive.binaries("nginx")[0].version)
        pcre = archive.binary("libpcre2-8-0", archive.binaries("libpcre2-8-0")[0].version)
        libraries = archive.binary("libssl3", version) / _LIBRARIES
        command = archive.binary("openssl", version) / "usr/bin/openssl"
        return cls(newest / "usr/sbin/nginx", command, libraries, (pcre / _LIBRARIES,))

    @property
    def env(self) -> dict[str, str]:
        """Makes a program use the old libraries, and no configuration of this machine."""
        paths = ":".join(str(p) for p in (self.libraries, *self.more))
        return {**os.environ, "LD_LIBRARY_PATH": paths, "OPENSSL_CONF": os.devnull}


@dataclass(frozen=True)
class Service:
    """A running server: what to connect to, and its first process."""

    name: str
    target: Target
    process: subprocess.Popen[bytes]

    @property
    def pids(self) -> list[int]:
        """The first process and its children."""
        first = self.process.pid
        return [first, *(int(x) for x in Path(f"/proc/{first}/task/{first}/children").read_text().split())]


def nginx_configuration(run: Path, port: int) -> str:
    """nginx with pages of its own; clients may show a certificate. Everything that it writes is in `run`."""
    values = {"certificate": run / "certificate.pem", "key": run / "key.pem", "server": _SERVER.format(run=run)}
    return NGINX_CONF.read_text().format(
        run=run, address="127.0.0.1", port=port, user="root", http="keepalive_timeout 600s;", **values
    )


@contextmanager
def nginx(programs: Programs) -> Iterator[Service]:
    """nginx with two workers; connections are kept alive."""
    with tempfile.TemporaryDirectory(prefix="suture-tls-") as name:
        folder = Path(name)
        target = prepare(folder, 5)
        (folder / "nginx.conf").write_text(nginx_configuration(folder, target.port))
        # -e: the log that the archive's build would open before it reads its configuration is the machine's own
        words = [programs.nginx, "-p", folder, "-c", folder / "nginx.conf", "-e", folder / "nginx.log"]
        with _running("nginx", [str(w) for w in words], programs, folder, target) as service:
            yield service


@contextmanager
def s_server(programs: Programs) -> Iterator[Service]:
    """`openssl s_server -WWW`, which serves one connection after the other, each for one request."""
    with tempfile.TemporaryDirectory(prefix="suture-tls-") as name:
        folder = Path(name)
        target = prepare(folder, 1)
        certificate, key = target.certificate, target.key
        words = [str(programs.openssl), "s_server", "-WWW", "-accept", f"127.0.0.1:{target.port}", "-quiet"]
        words += ["-cert", certificate, "-key", key, "-CAfile", certificate, "-verify", "1"]
        with _running("openssl s_server", words, programs, folder / "pages", target) as service:
            yield service


@contextmanager
def reader(programs: Programs) -> Iterator[tuple[subprocess.Popen[bytes], bytes]]:
    """`openssl pkcs7` that has got half of its input and waits for the rest, deep inside libcrypto; and that rest."""
    with tempfile.TemporaryDirectory(prefix="suture-tls-") as name:
        certificate, message = prepare(Path(name), 1).certificate, Path(name, "message.der")
        run(["openssl", "crl2pkcs7", "-nocrl", "-certfile", certificate, "-outform", "DER", "-out", str(message)])
        data, pipe = message.read_bytes(), subprocess.PIPE
        words = [str(programs.openssl), "pkcs7", "-inform", "DER"]
        process = subprocess.Popen(words, env=programs.env, stdin=pipe, stdout=pipe, stderr=subprocess.DEVNULL)
        try:
            assert process.stdin is not None
            process.stdin.write(data[: len(data) // 2])
            process.stdin.flush()
            time.sleep(1.0)
            yield process, data[len(data) // 2 :]
        finally:
            process.kill()
            process.communicate()


def prepare(folder: Path, requests: int) -> Target:
    """A certificate made for this run, and a page."""
    certificate, key, pages = folder / "certificate.pem", folder / "key.pem", folder / "pages"
    make = ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", "-subj", "/CN=localhost"]
    more = ["-addext", "subjectAltName=DNS:localhost", "-keyout", str(key), "-out", str(certificate)]
    run([*make, *more])
    pages.mkdir()
    (pages / "page.txt").write_text(secrets.token_hex(_BODY_BYTES // 2))
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    return Target(port, str(certificate), str(key), "/page.txt", str(pages / "page.txt"), requests)


@contextmanager
def _running(name: str, words: list[str], programs: Programs, place: Path, target: Target) -> Iterator[Service]:
    quiet, log = subprocess.DEVNULL, place / "output.log"
    with log.open("wb") as output:
        process = subprocess.Popen(words, env=programs.env, cwd=place, stdin=quiet, stdout=output, stderr=output)
    try:
        end = time.monotonic() + _START_SECONDS
        while not listens(target.port):
            if process.poll() is not None or time.monotonic() > end:
                raise NotMeasured(f"{name} did not start: {log.read_text()[-500:]}")
            time.sleep(0.05)
        yield Service(name, target, process)
    finally:
        process.terminate()
        try:
            process.wait(10)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def listens(port: int) -> bool:
    """Seen in the kernel's table (proc(5), /proc/net/tcp), since a connection would already be one to serve."""
    wanted = f"0100007F:{port:04X}"
    rows = (line.split() for line in Path("/proc/net/tcp").read_text().splitlines()[1:])
    return any(row[1] == wanted and row[3] == "0A" for row in rows)
