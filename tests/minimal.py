"""A minimal Debian for tests, entered in namespaces of its own that end with the command.

The machine that runs the test lends its apt sources, its pip settings and its certificates; the kernel is shared.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from suture.command import run
from suture.source import mirror

PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"

# Its own mounts and processes, so that both are gone when the script ends, however it ends.
ENTER = """
set -e
mount --bind "$0" "$0" # as on any machine, / is where a file system is mounted
mount -t proc proc "$0/proc"
mount --rbind /sys "$0/sys"
mount --rbind /dev "$0/dev"
place=$1
shift
exec chroot "$0" sh -c 'cd "$0" && exec "$@"' "$place" "$@"
"""


@contextmanager
def system(*packages: str, release: str = "bookworm") -> Iterator[Path]:
    """The root folder of a new minimal system with these packages more; it is removed afterwards."""
    folder = Path(tempfile.mkdtemp(prefix="suture-fresh-", dir="/var/tmp"))
    root = folder / "root"
    try:
        sources = folder / "sources.list"
        sources.write_text(mirror.sources_list(mirror.find(), release))
        options = [f"--aptopt={setting}" for setting in mirror.acquire_settings()]
        variant = ["--variant=minbase", "--dpkgopt=force-unsafe-io"]
        variant += [f"--include={','.join(packages)}"] if packages else []
        run(["mmdebstrap", *variant, *options, release, str(root), str(sources)])
        _lend_settings(root)
        yield root
    finally:
        shutil.rmtree(folder)


def _lend_settings(root: Path) -> None:
    """How this machine reaches the network: name service, certificates, pip's configuration."""
    for name in ("/etc/resolv.conf", "/etc/hosts", "/etc/pip.conf"):
        if Path(name).exists():
            shutil.copy(name, root / name.lstrip("/"))
    for folder in ("/etc/ssl/certs", "/usr/local/share/ca-certificates"):
        (root / folder.lstrip("/")).mkdir(parents=True, exist_ok=True)
        run(["cp", "--archive", f"{folder}/.", str(root / folder.lstrip("/"))])


def on(root: Path, place: str, *command: str, network: bool = True) -> tuple[str, float]:
    """Run a command there in the folder `place`; what it wrote to stdout and stderr, and its seconds."""
    lent = {name: value for name, value in os.environ.items() if name.startswith(("PIP_", "SSL_CERT_"))}
    env = {"HOME": "/root", "PATH": PATH, "LANG": "C.UTF-8", **lent}
    apart = ["--mount", "--pid", *([] if network else ["--net"])]
    start = time.monotonic()
    done = subprocess.run(
        ["unshare", *apart, "--fork", "--kill-child", "sh", "-c", ENTER, str(root), place, *command],
        env=env, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout
    return done.stdout, time.monotonic() - start
