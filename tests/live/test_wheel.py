"""Suture installed from its wheel into a minimal Debian 12, with the commands of docs/how-to/install.md and nothing
else."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import sys
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from suture import __version__
from suture.source.archive import archive_for
from tests import minimal
from tests.cli.test_make import difference

pytestmark = [pytest.mark.archive, pytest.mark.slow]

CHECKOUT = Path(__file__).parents[2]
PAGE = CHECKOUT / "docs/how-to/install.md"
WHEEL = f"suture-{__version__}-py3-none-any.whl"

# A process that uses the archive's zlib, and what the two installations do about it.
DRIVER = r"""
import json, subprocess, sys
ASK = "import ctypes\nz = ctypes.CDLL('libz.so.1')\nz.zlibCompileFlags.restype = ctypes.c_ulong\n" \
    "print('ready', flush=True)\n" \
      "while input() == '': print(z.zlibCompileFlags(), flush=True)\n"
target = subprocess.Popen(["python3", "-c", ASK], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
assert target.stdout.readline() == "ready\n"

def ask():
    target.stdin.write("\n"); target.stdin.flush()
    return int(target.stdout.readline())

def suture(where, *words):
    done = subprocess.run([f"/opt/{where}/bin/suture", *words, "--json"], capture_output=True, text=True)
    print(where, *words, done.returncode, done.stderr, file=sys.stderr)
    return done.returncode, json.loads(done.stdout)

found = {"help": subprocess.run(["/opt/host/bin/suture", "--help"], capture_output=True, text=True).stdout}
found["unable"] = suture("host", "make", "--for", f"pid:{target.pid}", "--file", "libz.so.1", "--fix",
    "/root/zlib.patch")
status, made = suture("maker", "make", "--for", f"pid:{target.pid}", "--file", "libz.so.1", "--fix", "/root/zlib.patch",
                      "--output", "/root/patches")
assert status == 0, made
(patch,) = made["patches"]
found["before"], found["functions"] = ask(), patch["functions"]
found["scan"] = suture("host", "scan", "--patches", "/root/patches")
found["apply"] = suture("host", "apply", patch["path"], str(target.pid))
found["applied"] = ask()
found["status"] = suture("host", "status", str(target.pid))
found["revert"] = suture("host", "revert", patch["id"], str(target.pid))
found["reverted"] = ask()
found["pid"], found["id"] = target.pid, patch["id"]
target.kill()
print("FOUND" + json.dumps(found))
"""


def documented(heading: str) -> list[str]:
    """The commands of a section of the page."""
    section = PAGE.read_text().split(f"## {heading}\n")[1].split("\n## ")[0]
    return re.findall(r"^    (.+)$", section, re.M)


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The wheel, built as the page says, from a copy of what git would hand out."""
    copy = tmp_path_factory.mktemp("clone")
    for name in ("src", "pyproject.toml", "LICENSE"):
        argv = ["git", "ls-files", "--cached", "--others", "--exclude-standard", name]
        for place in subprocess.run(argv, cwd=CHECKOUT, capture_output=True, text=True, check=True).stdout.splitlines():
            (copy / place).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(CHECKOUT / place, copy / place)
    for command in documented("Build the wheel"):
        words = command.replace("python3 -m venv", f"{sys._base_executable} -m venv")  # type: ignore[attr-defined]
        subprocess.run(["sh", "-euc", words], cwd=copy, check=True, capture_output=True)
    return copy / "dist" / WHEEL


@pytest.fixture(scope="module")
def machine(wheel: Path) -> Iterator[Path]:
    """A minimal system with the two installations, in /opt/host and /opt/maker."""
    with minimal.system("ca-certificates") as root:
        shutil.copy(wheel, root / "root" / wheel.name)
        minimal.on(root, "/root", "apt-get", "--quiet", "update")
        for heading, place in (("A host, from the wheel", "/opt/host"), ("A maker", "/opt/maker")):
            for command in documented(heading):
                if not command.startswith("ln "):
                    minimal.on(root, "/root", "sh", "-euc", command.replace("/opt/suture", place))
        yield root


@pytest.fixture(scope="module")
def found(machine: Path) -> dict[str, Any]:
    """What the driver saw in the minimal system."""
    version, _ = minimal.on(machine, "/", "dpkg-query", "--show", "--showformat=${Version}", "zlib1g")
    source = (archive_for("zlib", version).source("zlib", version).tree / "zutil.c").read_bytes()
    fixed = source.replace(b"    flags = 0;", b"    flags = 0x10000000;", 1)
    (machine / "root/zlib.patch").write_bytes(difference("zutil.c", source, fixed))
    (machine / "root/driver.py").write_text(DRIVER)
    said, _ = minimal.on(machine, "/root", "python3", "driver.py")
    answer: dict[str, Any] = json.loads(said.rpartition("FOUND")[2])
    return answer


def test_the_wheel_holds_every_file_of_the_package(wheel: Path) -> None:
    source = CHECKOUT / "src"
    package = {p.relative_to(source).as_posix() for p in (source / "suture").rglob("*") if p.is_file()}
    wanted = {name for name in package if "__pycache__" not in name}
    with zipfile.ZipFile(wheel) as packed:
        held = {name for name in packed.namelist() if name.startswith("suture/")}
        licence = [name for name in packed.namelist() if name.endswith("LICENSE")]
    assert held == wanted and "suture/recipes/kernel/linux.toml" in held
    assert len(licence) == 1


def test_an_installation_without_extras_has_suture_alone(machine: Path) -> None:
    said, _ = minimal.on(machine, "/", "/opt/host/bin/python", "-m", "pip", "list", "--format=json")
    listed = json.loads(said[said.index("[") : said.rindex("]") + 1])
    assert {row["name"] for row in listed} == {"suture", "pip", "setuptools"}


def test_a_host_takes_a_patch_in_and_out_that_a_maker_made(found: dict[str, Any]) -> None:
    assert "make live patches" in found["help"]
    assert found["functions"] == ["zlibCompileFlags"]
    assert found["applied"] == found["before"] | 0x10000000 and found["reverted"] == found["before"]
    assert found["apply"][0] == found["revert"][0] == found["status"][0] == 0
    assert found["id"] in json.dumps(found["status"][1])
    memory = {p["pid"]: [b["memory"] for b in p["binaries"]] for p in found["scan"][1]["processes"]}
    assert memory[found["pid"]] == ["not fixed"]


def test_a_host_says_what_it_lacks_for_making(found: dict[str, Any]) -> None:
    code, said = found["unable"]
    assert code == 10 and "extra 'make'" in said["error"]
    assert said["remedy"] == f"add it: /opt/host/bin/python -m pip install 'suture[make]=={__version__}'"


def test_the_kernels_recipe_comes_with_the_wheel(machine: Path) -> None:
    program = "from suture.make_kernel.target import load_recipe; print(load_recipe().names['source'])"
    assert minimal.on(machine, "/", "/opt/maker/bin/python", "-c", program)[0].startswith("linux")
