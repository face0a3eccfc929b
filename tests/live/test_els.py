"""Fixes of a real package of a release past its end: built with its tests, published, live in a process of a host that
runs the old library, and installed there by apt."""

from __future__ import annotations

import signal
from pathlib import Path

import pytest

from suture.els.apt_repository import KEYRING
from tests import minimal
from tests.els.repository_made import key
from tests.els.served import served
from tests.live import in_chroot

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


def fetched(folder: Path, patch: str) -> str:
    """The patch as a host gets it from the feed."""
    build_id = in_chroot.suture("feed", "check", "--feed", "feed", "--list", cwd=folder)["added"][0]["build_id"]
    where = ["--url", f"file://{folder}/feed/public", "--root", "feed/root.json", "--into", "into"]
    [one] = in_chroot.suture("feed", "fetch", *where, "--build-id", build_id, cwd=folder)["patches"]
    assert one["offer"]["patch"] == patch
    return str(one["path"])


def test_fixes_of_libssh2_are_built_published_live_and_installed(tmp_path: Path) -> None:
    key(tmp_path / "home")
    built = in_chroot.suture(
        *("els", "build", "libssh2", "--version", OLD, "--from-version", "1.10.0-3+deb12u1", "--output", "built"),
        cwd=tmp_path,
    )
    assert (built["made"], built["grade"], built["reproducible"]) == (MADE, "safe", True), built["doubts"]
    assert built["tests"]["outcome"] == "passed" and built["tests"]["after"]["PASS"] == 2
    assert {c for f in built["fixes"] for c in f["cves"]} == CVES

    roots = [word for n in "abc" for word in ("--root-keys", f"stick-{n}")]
    in_chroot.suture("feed", "init", "--feed", "feed", "--keys", "keys", *roots, cwd=tmp_path)
    into = ["--output", "built", "--patches", "patches", "--feed", "feed"]
    live = in_chroot.suture("els", "live", "libssh2", *into, cwd=tmp_path)
    [conversion] = live["conversions"]
    assert {c["cve"] for c in conversion["cves"] if c["closing"] == "closed live"} == CVES, conversion
    [patch] = conversion["patches"]
    # an error that the function never gave before has to be looked at
    assert live["added"] == [] and [c["reason"] for c in live["left_out"]] == ["refused.patch-not-safe"]
    looked = ["--feed", "feed", "--accept", "review", "--channel", "delayed"]
    in_chroot.suture("feed", "add", patch["path"], *looked, cwd=tmp_path)
    in_chroot.suture("feed", "publish", "--feed", "feed", "--keys", "keys", cwd=tmp_path)

    options = ["--repository", "repository", "--gnupg-home", "home", "--key", "els@test.invalid"]
    published = in_chroot.suture("els", "publish", "--output", "built", *options, cwd=tmp_path)
    assert [p["state"] for p in published["packages"]] == ["published"]

    with minimal.system("libssh2-1", "python3-minimal", "libpython3-stdlib", release="bullseye") as root:
        assert (
            in_chroot.inside(root, ENVIRONMENT, "dpkg-query", "--show", "--showformat=${Version}", "libssh2-1") == OLD
        )
        with (
            in_chroot.holding(root, TRIGGER, ENVIRONMENT) as unpatched,
            in_chroot.holding(root, TRIGGER, ENVIRONMENT) as patched,
        ):
            said = in_chroot.suture("apply", fetched(tmp_path, patch["id"]), str(patched.pid), cwd=tmp_path)
            assert {g["state"] for p in said["processes"] for g in p["groups"]} == {"applied"}
            assert in_chroot.tell(patched, 2)[0] == "None"
            assert in_chroot.tell(unpatched, 2) == ["", ""] and unpatched.wait() == -signal.SIGSEGV
            assert patched.poll() is None
            repository = tmp_path / "repository"
            with served(repository) as address:
                (root / "etc/apt/keyrings").mkdir(parents=True, exist_ok=True)
                (root / "etc/apt/keyrings" / KEYRING).write_text((repository / KEYRING).read_text())
                sources = published["sources"].replace("https://example.org/suture", address)
                (root / "etc/apt/sources.list.d/suture-els.sources").write_text(sources)
                (root / "etc/apt/apt.conf.d/99direct").write_text('Acquire::http::Proxy::127.0.0.1 "DIRECT";\n')
                only = "--option=Dir::Etc::sourcelist=/dev/null"
                in_chroot.inside(root, ENVIRONMENT, "apt-get", only, "--error-on=any", "update")
                in_chroot.inside(root, ENVIRONMENT, "apt-get", only, "--yes", "install", "libssh2-1")
            assert (
                in_chroot.inside(root, ENVIRONMENT, "dpkg-query", "--show", "--showformat=${Version}", "libssh2-1")
                == MADE
            )
            assert patched.poll() is None  # the process runs on, with the patch
