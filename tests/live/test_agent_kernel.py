"""Kernel patches by the agent, on the archive's own kernel: from a feed into the kernel."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from suture.machine.vm import Guest
from suture.make_kernel.make import KernelMaking
from suture.make_kernel.target import find
from tests.cli.test_feed import run
from tests.live.test_kernel_boot import VERSION, made
from tests.live.test_kernel_guest import _PROBE

pytestmark = [pytest.mark.archive, pytest.mark.slow]

POLICY = """\
[feed]
url = "file:///mnt/feed/public"
root = "/mnt/feed/root.json"
channel = "early"

[apply]
untried = true
grades = ["safe", "review"]
timeout_seconds = 90
"""
PLACES = "--policy /mnt/agent.toml --state /mnt/agent --kept /mnt/kept"
# Both parts, as plain processes: one look, then an end in good order.
LOOK = f"""
import subprocess, sys, time
from pathlib import Path
socket, places = Path("/run/suture-look/socket"), {PLACES.split()!r}
words = [sys.executable, "-m", "suture.cli", "agent"]
service = subprocess.Popen([*words, "apply-service", *places, "--socket", str(socket), "--user", "0"])
while not socket.exists() and service.poll() is None:
    time.sleep(0.1)
done = subprocess.run([*words, "run", "--once", *places, "--socket", str(socket)])
service.terminate()
sys.exit(done.returncode or service.wait())
"""


def boot(disk: Path) -> Guest:
    """The machine with the disk of the one before."""
    guest = Guest(find(VERSION))
    guest.__enter__()
    shutil.copytree(disk, guest.share, dirs_exist_ok=True)
    return guest


def look(guest: Guest) -> str:
    """What both parts of the agent have told at one look."""
    answer = guest.python("/mnt/look.py", timeout=600)
    assert answer.status == 0, answer.output
    return answer.output


def publish(disk: Path, keys: Path, patch: KernelMaking) -> str:
    """The patch, whose id is given."""
    path = keys / f"{patch.manifest.module}.ko"
    path.write_bytes(patch.data)
    (added,) = run("feed", "add", path, "--feed", disk / "feed", "--accept", "review")["added"]
    run("feed", "publish", "--feed", disk / "feed", "--keys", keys)
    return str(added["patch"])


def test_a_kernel_patch_of_a_feed_goes_into_the_running_kernel(tmp_path: Path) -> None:
    disk, keys = tmp_path / "disk", tmp_path / "keys"
    run("feed", "init", "--feed", disk / "feed", "--keys", keys, "--root-keys", keys)
    (disk / "agent.toml").write_text(POLICY)
    (disk / "look.py").write_text(LOOK)
    (disk / "probe.py").write_bytes(_PROBE.read_bytes())
    good = publish(disk, keys, made())
    guest = boot(disk)
    try:
        assert guest.python("/mnt/probe.py").output.strip() == "allowed"
        assert f"applied: {good} to the kernel" in look(guest)
        assert guest.python("/mnt/probe.py").output.strip() == "Operation not permitted"
    finally:
        guest.__exit__(None, None, None)
