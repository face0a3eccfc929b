"""The Debian package, installed, used, upgraded and purged in a bare system of its release."""

from __future__ import annotations

import hashlib
import json
import re
import shutil
import subprocess
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import deb
import pytest

from suture import __version__
from suture.agent import policy
from suture.source.archive import archive_for
from tests import minimal
from tests.cli.test_make import difference
from tests.cli.test_make import run as suture

RELEASES = {"bookworm": "/usr/bin/python3.11", "bullseye": "/usr/lib/suture/python/bin/python3.11"}
BUILD = Path(deb.__file__).with_name("build-deb")
POLICY = '[feed]\nurl = "https://feed.example/"\nroot = "/etc/suture/root.json"\n'

# A process with the archive's zlib, and what the command does about it.
DRIVER = r"""
import json, subprocess, sys
ASK = "import ctypes\nz = ctypes.CDLL('libz.so.1')\nz.zlibCompileFlags.restype = ctypes.c_ulong\n" \
    "print('ready', flush=True)\n" \
      "while input() == '': print(z.zlibCompileFlags(), flush=True)\n"
target = subprocess.Popen([sys.executable, "-c", ASK], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
assert target.stdout.readline() == "ready\n"

def ask():
    target.stdin.write("\n"); target.stdin.flush()
    return int(target.stdout.readline())

def suture(*words):
    done = subprocess.run(["suture", *words, "--json"], capture_output=True, text=True)
    return done.returncode, json.loads(done.stdout)

patch, pid = sys.argv[1], str(target.pid)
found = {"before": ask(), "apply": suture("apply", patch, pid), "applied": ask()}
found["scan"] = suture("scan", "--patches", "/root/patches")
found["revert"] = suture("revert", found["apply"][1]["patch"], pid)
found["reverted"], found["pid"] = ask(), target.pid
target.kill()
print("FOUND" + json.dumps(found))
"""

# What dpkg and the account tools write of any package.
OF_THE_TOOLS = re.compile(
    r"/(proc|sys|dev|tmp)/|/root/|/var/log/|/var/cache/(apt|debconf|ldconfig|man)/|/var/lib/(apt|dpkg)/|/var/backups/"
    r"|/etc/(passwd|group|shadow|gshadow|subuid|subgid)-$|/etc/ld\.so\.cache$|/\.pwd\.lock$"
)


@dataclass(frozen=True)
class Bare:
    """A bare system of a release, and the package for it in /root."""

    release: str
    root: Path
    deb: Path

    def on(self, *command: str, network: bool = False) -> str:
        return minimal.on(self.root, "/", *command, network=network)[0]

    def files(self) -> dict[str, str]:
        """Everything that is there, with a digest of what it holds."""
        found = {}
        for path in self.root.rglob("*"):
            name = f"/{path.relative_to(self.root)}"
            if not OF_THE_TOOLS.match(f"{name}/" if path.is_dir() and not path.is_symlink() else name):
                held = path.read_bytes() if path.is_file() and not path.is_symlink() else b""
                found[name] = hashlib.sha256(held).hexdigest()
        return found


@pytest.fixture(scope="module", params=RELEASES)
def bare(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Bare]:
    output = tmp_path_factory.mktemp("deb")
    subprocess.run([BUILD, request.param, "--output", output], check=True)
    (built,) = output.glob("*.deb")
    with minimal.system(release=request.param) as root:
        shutil.copy(built, root / "root" / built.name)
        one = Bare(request.param, root, Path("/root") / built.name)
        one.on("apt-get", "--quiet", "update", network=True)
        yield one


def test_the_example_is_a_policy_once_it_is_copied(tmp_path: Path) -> None:
    page = (deb.ROOT / "docs/reference/agent-policy.md").read_text()
    example = tmp_path / "agent.toml"
    text = deb.example_policy(page).replace("/etc/suture/root.json", str(tmp_path / "root.json"))
    (tmp_path / "root.json").write_text("{}")
    example.write_text(text)
    found = policy.load(example)
    assert found.url == "https://feed.example/" and not found.delay and not found.freezes
    every = tmp_path / "every.toml"
    every.write_text(re.sub(r"^# (?=[\w\[])(?!Copy)", "", text, flags=re.M))
    assert policy.load(every).delay


def test_a_unit_that_runs_another_command_is_noticed() -> None:
    assert "ExecStart=/usr/bin/suture agent run" in deb.installed_unit("ExecStart=/usr/local/bin/suture agent run")
    with pytest.raises(ValueError, match="does not run"):
        deb.installed_unit("ExecStart=/opt/suture agent run")


def test_installing_enables_what_does_nothing_without_a_policy_and_nothing_else() -> None:
    assert {u.name for u in deb.units() if deb.enabled(u)} == {"suture-agent.service", "suture-agent-apply.service"}


@pytest.mark.archive
@pytest.mark.slow
def test_it_is_installed_with_apt_and_its_command_works(bare: Bare) -> None:
    bare.on("apt-get", "install", "--yes", "--no-install-recommends", str(bare.deb), network=True)
    assert bare.on("suture", "--version") == f"suture {__version__}\n"
    assert "no process runs a replaced file" in bare.on("suture", "scan")
    (bare.root / "etc/suture/agent.toml").write_text(POLICY)
    (bare.root / "etc/suture/root.json").write_text("{}")
    assert "Patches come from https://feed.example/" in bare.on("suture", "agent", "check")
    # the part that meets the network has its libraries
    bare.on(RELEASES[bare.release], "-IS", "-c", "import sys; sys.path.insert(0, '/usr/lib/suture/packages'); "
            "import suture.feed.client, tuf, cryptography.hazmat.primitives.asymmetric.ed25519, ssl")  # fmt: skip
    # what it is not for it says, without a word of pip
    said = bare.on("sh", "-c", "suture make --tree / --binary /bin/true --fix /dev/null || true")
    assert "do this on another machine" in said and "pip install" not in said
    assert "suture-agent:x:" in (bare.root / "etc/passwd").read_text()


@pytest.mark.archive
@pytest.mark.slow
def test_a_process_is_patched_and_reverted(bare: Bare, tmp_path: Path) -> None:
    version = bare.on("dpkg-query", "--show", "--showformat=${Version}", "zlib1g")
    source = (archive_for("zlib", version).source("zlib", version).tree / "zutil.c").read_bytes()
    fixed = source.replace(b"    flags = 0;", b"    flags = 0x10000000;", 1)
    (tmp_path / "zlib.patch").write_bytes(difference("zutil.c", source, fixed))
    made = suture("make", "--source", f"zlib={version}", "--file", "libz.so.1", "--fix", tmp_path / "zlib.patch",
                  "--output", bare.root / "root/patches")  # fmt: skip
    (patch,) = made["patches"]
    (bare.root / "root/driver.py").write_text(DRIVER)
    inside = f"/root/patches/{Path(patch['path']).name}"
    said = bare.on(RELEASES[bare.release], "/root/driver.py", inside)
    found: dict[str, Any] = json.loads(said.rpartition("FOUND")[2])
    assert found["applied"] == found["before"] | 0x10000000 and found["reverted"] == found["before"]
    assert found["apply"][0] == found["revert"][0] == 0
    memory = {p["pid"]: [b["memory"] for b in p["binaries"]] for p in found["scan"][1]["processes"]}
    assert memory[found["pid"]] == ["fixed in memory"]


@pytest.mark.archive
@pytest.mark.slow
def test_an_upgrade_keeps_what_is_there_and_restarts_the_agent_alone(bare: Bare) -> None:
    kept = bare.root / "var/lib/suture/agent-apply/register.json"
    kept.parent.mkdir(parents=True)
    kept.write_text("kept")
    calls = with_systemd(bare)
    bare.on("dpkg", "--install", str(newer(bare)))
    assert kept.read_text() == "kept" and (bare.root / "etc/suture/agent.toml").read_text() == POLICY
    assert calls() == [
        "--system daemon-reload",
        f"--system try-restart {' '.join(u.name for u in deb.units())}",
    ]
    without_systemd(bare)


@pytest.mark.archive
@pytest.mark.slow
def test_purging_leaves_nothing_and_installing_needs_no_network(bare: Bare) -> None:
    bare.on("apt-get", "purge", "--yes", "suture")
    before = bare.files()
    assert [name for name in before if "suture" in name] == []
    bare.on("dpkg", "--install", str(bare.deb))
    added = bare.files().keys() - before.keys()
    assert "/usr/bin/suture" in added and "/etc/suture/agent.example.toml" in added
    assert [n for n in added if n.startswith(("/usr/local", "/usr/lib/python3", "/lib/python3"))] == []
    for command in (["suture", "--version"], ["suture", "status"], ["suture", "feed", "--help"]):
        bare.on(*command)
    assert bare.files().keys() - before.keys() == added  # use leaves nothing behind
    for folder in ("agent", "agent-apply/patches", "kernel/0123"):
        (bare.root / "var/lib/suture" / folder).mkdir(parents=True)
    (bare.root / "etc/suture/agent.toml").write_text(POLICY)
    edited = bare.root / "etc/systemd/system/suture-notify.service.d"
    edited.mkdir(parents=True)
    (edited / "override.conf").write_text("[Service]\n")
    bare.on("dpkg", "--purge", "suture")
    assert bare.files() == before


@pytest.mark.archive
@pytest.mark.slow
def test_two_builds_have_the_same_bytes(bare: Bare, tmp_path: Path) -> None:
    subprocess.run([BUILD, bare.release, "--again", "--output", tmp_path], check=True)
    (built,) = tmp_path.glob("*.deb")
    assert built.read_bytes() == (bare.root / str(bare.deb)[1:]).read_bytes()


def newer(bare: Bare) -> Path:
    """The package with a higher version."""
    place = bare.root / "root/newer"
    subprocess.run(["dpkg-deb", "--raw-extract", str(bare.root / str(bare.deb)[1:]), place], check=True)
    control = place / "DEBIAN/control"
    control.write_text(control.read_text().replace(f"Version: {__version__}", f"Version: {__version__}.1"))
    subprocess.run(["dpkg-deb", "--root-owner-group", "--build", place, f"{place}.deb"], check=True)
    shutil.rmtree(place)
    return Path("/root/newer.deb")


def with_systemd(bare: Bare) -> Any:
    """As if systemd ran there; what is asked of it."""
    told = bare.root / "root/told"
    (bare.root / "run/systemd/system").mkdir(parents=True)
    program = bare.root / "usr/local/bin/systemctl"
    program.write_text('#!/bin/sh\necho "$*" >>/root/told\n')
    program.chmod(0o755)

    def calls() -> Sequence[str]:
        return told.read_text().splitlines()

    return calls


def without_systemd(bare: Bare) -> None:
    shutil.rmtree(bare.root / "run/systemd")
    (bare.root / "usr/local/bin/systemctl").unlink()
