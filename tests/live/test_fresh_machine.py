"""The two commands on a machine that has nothing: a minimal Debian 12 with git, made for the test, in namespaces of its own.

The machine that runs the test lends its apt sources, its pip settings and its certificates; the kernel is shared.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from suture.command import run
from suture.source import mirror

pytestmark = [pytest.mark.archive, pytest.mark.slow]

CHECKOUT = Path(__file__).parents[2]
PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"

# Its own mounts and processes, so that both are gone when the script ends, however it ends.
ENTER = """
set -e
mount -t proc proc "$0/proc"
mount --rbind /sys "$0/sys"
mount --rbind /dev "$0/dev"
exec chroot "$0" sh -c 'cd /root/suture && exec "$@"' sh "$@"
"""


@pytest.fixture(scope="module")
def machine() -> Iterator[Path]:
    """The root folder of a minimal system with a clone of this checkout in /root/suture."""
    folder = Path(tempfile.mkdtemp(prefix="suture-fresh-", dir="/var/tmp"))
    root = folder / "root"
    try:
        sources = folder / "sources.list"
        sources.write_text(mirror.sources_list(mirror.find(), "bookworm"))
        settings = mirror.acquire_settings()
        options = [f"--aptopt={setting}" for setting in settings]
        variant = ["--variant=minbase", "--include=git,ca-certificates"]
        run(["mmdebstrap", *variant, *options, "bookworm", str(root), str(sources)])
        lend_settings(root)
        run(["git", "clone", "--quiet", str(CHECKOUT), str(root / "root/suture")])
        yield root
    finally:
        shutil.rmtree(folder)


def lend_settings(root: Path) -> None:
    """How this machine reaches the network: name service, certificates, pip's configuration."""
    for name in ("/etc/resolv.conf", "/etc/hosts", "/etc/pip.conf"):
        if Path(name).exists():
            shutil.copy(name, root / name.lstrip("/"))
    for folder in ("/etc/ssl/certs", "/usr/local/share/ca-certificates"):
        run(["cp", "--archive", f"{folder}/.", str(root / folder.lstrip("/"))])


def on(machine: Path, *command: str) -> tuple[str, float]:
    """Run a command there; what it wrote to stdout and stderr, and its seconds."""
    lent = {name: value for name, value in os.environ.items() if name.startswith(("PIP_", "SSL_CERT_"))}
    env = {"HOME": "/root", "PATH": PATH, "LANG": "C.UTF-8", **lent}
    start = time.monotonic()
    done = subprocess.run(
        ["unshare", "--mount", "--pid", "--fork", "--kill-child", "sh", "-c", ENTER, str(machine), *command],
        env=env, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout
    return done.stdout, time.monotonic() - start


def test_the_demo_needs_nothing_but_the_clone_and_is_quick_the_second_time(machine):
    assert not (machine / "usr/bin/python3").exists()
    first, cold = on(machine, "./demo")
    second, warm = on(machine, "./demo")
    for text in (first, second):
        assert ", failed 0;" in text
        assert "HOLE CLOSED" in text
    assert cold < 180
    assert warm < 20


def test_the_command_is_there_after_the_set_up_and_a_second_set_up_is_silent(machine):
    on(machine, "./setup")
    text, _ = on(machine, "suture", "--version")
    assert text.startswith("suture ")
    text, seconds = on(machine, "./setup")
    assert text == ""
    assert seconds < 1
