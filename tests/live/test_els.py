"""Fixes of a real package of a release past its end: built with its tests, published, live in a process of a host that
runs the old library, and installed there by apt."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from suture.els.apt_repository import KEYRING
from tests import minimal
from tests.els.repository_made import key
from tests.els.served import served

pytestmark = [pytest.mark.archive, pytest.mark.slow]

OLD = "1.9.0-2+deb11u1"
MADE = f"{OLD}+suture1"
CVES = {"CVE-2025-15661", "CVE-2026-7598", "CVE-2026-58050", "CVE-2026-58051", "CVE-2026-66032", "CVE-2026-66034"}
ENVIRONMENT = {"PATH": minimal.PATH, "DEBIAN_FRONTEND": "noninteractive"}
# CVE-2026-7598: a name of nearly 4 GiB makes the length of the packet overflow; what is copied is longer than it.
TRIGGER = """
import ctypes
library = ctypes.CDLL("libssh2.so.1")
library.libssh2_session_init_ex.restype = library.libssh2_userauth_list.restype = ctypes.c_void_p
session = ctypes.c_void_p(library.libssh2_session_init_ex(None, None, None, None))
print("ready", flush=True)
input()
print(library.libssh2_userauth_list(session, b"x", ctypes.c_uint(0xFFFFFFF0)), flush=True)
print(library.libssh2_session_last_errno(session), flush=True)
input()
"""


def suture(*words: str, cwd: Path) -> Any:
    done = subprocess.run(
        [sys.executable, "-m", "suture.cli", *words, "--json"], cwd=cwd, capture_output=True, text=True, check=False
    )
    assert done.stdout, done.stderr
    return json.loads(done.stdout)


@contextmanager
def holding(root: Path) -> Iterator[subprocess.Popen[str]]:
    """A process of the chroot that has loaded the library, and calls it once it is told to."""
    words = ["chroot", str(root), "python3", "-c", TRIGGER]
    pipe = subprocess.PIPE
    with subprocess.Popen(words, stdin=pipe, stdout=pipe, text=True, env=ENVIRONMENT) as process:
        assert process.stdout is not None and process.stdout.readline() == "ready\n"
        try:
            yield process
        finally:
            process.kill()


def tell(process: subprocess.Popen[str]) -> list[str]:
    assert process.stdin is not None and process.stdout is not None
    process.stdin.write("\n")
    process.stdin.flush()
    return [process.stdout.readline().strip() for _ in range(2)]


def inside(root: Path, *words: str) -> str:
    done = subprocess.run(["chroot", str(root), *words], capture_output=True, text=True, check=False, env=ENVIRONMENT)
    assert done.returncode == 0, f"{done.stdout} {done.stderr}"
    return done.stdout


def test_fixes_of_libssh2_are_built_published_live_and_installed(tmp_path: Path) -> None:
    key(tmp_path / "home")
    built = suture(
        *("els", "build", "libssh2", "--version", OLD, "--from-version", "1.10.0-3+deb12u1", "--output", "built"),
        cwd=tmp_path,
    )
    assert (built["made"], built["grade"], built["reproducible"]) == (MADE, "safe", True), built["doubts"]
    assert built["tests"]["outcome"] == "passed" and built["tests"]["after"]["PASS"] == 2
    assert {c for f in built["fixes"] for c in f["cves"]} == CVES

    live = suture("els", "live", "libssh2", "--output", "built", "--patches", "patches", cwd=tmp_path)
    [conversion] = live["conversions"]
    assert {c["cve"] for c in conversion["cves"] if c["closing"] == "closed live"} == CVES, conversion
    [patch] = conversion["patches"]

    options = ["--repository", "repository", "--gnupg-home", "home", "--key", "els@test.invalid"]
    published = suture("els", "publish", "--output", "built", *options, cwd=tmp_path)
    assert [p["state"] for p in published["packages"]] == ["published"]

    with minimal.system("libssh2-1", "python3-minimal", "libpython3-stdlib", release="bullseye") as root:
        assert inside(root, "dpkg-query", "--show", "--showformat=${Version}", "libssh2-1") == OLD
        with holding(root) as unpatched, holding(root) as patched:
            said = suture("apply", patch["path"], str(patched.pid), cwd=tmp_path)
            assert [g["state"] for p in said["processes"] for g in p["groups"]] == ["applied"]
            assert tell(patched)[0] == "None"
            assert tell(unpatched) == ["", ""] and unpatched.wait() == -signal.SIGSEGV
            assert patched.poll() is None
            repository = tmp_path / "repository"
            with served(repository) as address:
                (root / "etc/apt/keyrings").mkdir(parents=True, exist_ok=True)
                (root / "etc/apt/keyrings" / KEYRING).write_text((repository / KEYRING).read_text())
                sources = published["sources"].replace("https://example.org/suture", address)
                (root / "etc/apt/sources.list.d/suture-els.sources").write_text(sources)
                (root / "etc/apt/apt.conf.d/99direct").write_text('Acquire::http::Proxy::127.0.0.1 "DIRECT";\n')
                only = "--option=Dir::Etc::sourcelist=/dev/null"
                inside(root, "apt-get", only, "--error-on=any", "update")
                inside(root, "apt-get", only, "--yes", "install", "libssh2-1")
            assert inside(root, "dpkg-query", "--show", "--showformat=${Version}", "libssh2-1") == MADE
            assert patched.poll() is None  # the process runs on, with the patch
