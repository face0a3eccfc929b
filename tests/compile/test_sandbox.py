"""What code of a package, a compiler that a tree names, or a fix may try: each attack works outside, as root, and not
in a room."""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from suture.command import CommandFailed
from suture.compile import database, host, job
from suture.compile.host import HostRoom
from suture.compile.job import CompileFailed
from suture.compile.room import BUILDER, Rights, Room
from suture.compile.unit import Variant
from suture.source.fix import parse

# Each prints "done" when it has what it wants. {place}: a folder of the host, {port}: a listener, {pid}: a process,
# {name}: its socket.
ATTACKS = {
    "write a file of the host": "import os; open('{place}/file', 'r+').write('x')",
    "make a file in a folder of the host": "open('{place}/new', 'w')",
    "make a file in /etc": "open('/etc/suture-test-new', 'w'); import os; os.unlink('/etc/suture-test-new')",
    "reach the network": "import socket; socket.create_connection(('127.0.0.1', {port}), 5)",
    "reach a socket of the host": "import socket; socket.socket(socket.AF_UNIX).connect('{place}/socket')",
    "reach an abstract socket of the host": "import socket; socket.socket(socket.AF_UNIX).connect('\\0{name}')",
    "see a process of the host": "import os; assert open('/proc/{pid}/comm').read() == 'sleep\\n'",
    "signal a process of the host": (
        "import os; os.kill({pid}, 0); assert open('/proc/{pid}/comm').read() == 'sleep\\n'"
    ),
    "mount": "import subprocess; subprocess.run(['mount', '-t', 'tmpfs', 'x', '{place}/mount'], check=True);"
    " subprocess.run(['umount', '{place}/mount'], check=True)",
    "mount in a user namespace": "import subprocess; subprocess.run(['unshare', '--user', '--map-root-user', '--mount',"
    " 'sh', '-ec', 'mount -o remount,bind,rw / && touch {place}/new'], check=True)",
    "make a device": (
        "import os, stat; os.mknod('{place}/device', stat.S_IFCHR | 0o600, os.makedev(1, 5)); "
        "open('{place}/device').read(1)"
    ),
    "set what the kernel runs": "p = '/proc/sys/kernel/core_pattern'; t = open(p).read(); open(p, 'w').write(t)",
    "change the host's name": "import socket; socket.sethostname(socket.gethostname())",
    "become root": "import os; os.setresuid(0, 0, 0); os.chown('{place}/file', 0, 0)",
    "read a file that root alone may read": "open('{place}/secret').read()",
    "shared memory of the host": (
        "import subprocess; assert '0x00c0ffee' in subprocess.run(['ipcs', '-m'], capture_output=True, "
        "text=True).stdout"
    ),
}


@dataclass(frozen=True)
class World:
    """What there is to attack."""

    place: Path
    words: dict[str, Any]

    def script(self, attack: str) -> str:
        text = f"{ATTACKS[attack].format(**self.words)}\nprint('done', flush=True)\n"
        return f"/usr/bin/python3 -I -S - <<'END'\n{text}END\n"


@pytest.fixture
def world(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[World]:
    monkeypatch.setenv("SUTURE_CACHE", str(tmp_path / "cache"))
    place = tmp_path / "host"
    (place / "mount").mkdir(parents=True)
    (place / "file").write_text("a file")
    (place / "secret").write_text("a secret")
    (place / "secret").chmod(0o600)
    name = f"suture-test-{os.getpid()}"
    segment = subprocess.run(
        [sys.executable, "-c", "import ctypes; print(ctypes.CDLL(None).shmget(0xC0FFEE, 4096, 0o1666))"],
        capture_output=True, text=True, check=True,
    ).stdout.strip()  # fmt: skip
    sleeper = subprocess.Popen(["sleep", "600"])
    with closing(socket.create_server(("127.0.0.1", 0))) as listener, closing(socket.socket(socket.AF_UNIX)) as named, \
            closing(socket.socket(socket.AF_UNIX)) as abstract:  # fmt: skip
        here = os.open(place, os.O_RDONLY)
        named.bind(f"/proc/self/fd/{here}/socket")  # the path itself may be too long for an address
        named.listen()
        abstract.bind(f"\0{name}")
        abstract.listen()
        os.close(here)
        try:
            yield World(place, {"place": place, "port": listener.getsockname()[1], "pid": sleeper.pid, "name": name})
        finally:
            sleeper.kill()
            sleeper.wait()
            subprocess.run(["ipcrm", "-m", segment], check=False)


def outcome(room: Room | HostRoom, script: str) -> str:
    try:
        return room.enter(script)
    except CommandFailed as failed:
        return failed.output


@pytest.mark.parametrize("attack", ATTACKS)
def test_what_works_outside_does_not_work_in_a_room(world: World, attack: str) -> None:
    """The room is this host's own files, so that the attack has all its tools."""
    said = outcome(Room((Path("/"),)), world.script(attack))
    assert "done" not in said and ("Error" in said or "denied" in said or "failed" in said), said
    if attack != "mount in a user namespace":
        outside = subprocess.run(["sh", "-c", world.script(attack)], capture_output=True, text=True, check=False)
        assert "done" in outside.stdout, outside.stderr


def test_a_loopback_interface_of_its_own_reaches_itself_and_not_the_host(world: World) -> None:
    """Tests of packages start servers; the host's are not theirs."""
    room = Room((Path("/"),))
    with pytest.raises(CommandFailed):
        room.enter(world.script("reach the network"), loopback=True)
    listens = "import socket; s = socket.create_server(('127.0.0.1', 0)); socket.create_connection(s.getsockname())"
    assert room.enter(f'/usr/bin/python3 -I -S -c "{listens}" && echo done', loopback=True) == "done\n"
    assert "done" not in outcome(room, f'/usr/bin/python3 -I -S -c "{listens}" && echo done')


@pytest.mark.parametrize("attack", sorted(ATTACKS))
@pytest.mark.parametrize("owner", [0, 61003])
def test_what_works_outside_does_not_work_for_the_compilers_of_a_tree(world: World, attack: str, owner: int) -> None:
    (world.place / "file").chmod(0o666)
    os.chown(world.place, owner, owner)
    said = outcome(HostRoom(str(world.place), (), owner, owner), world.script(attack))
    assert "done" not in said and ("Error" in said or "denied" in said or "failed" in said), said


def test_package_code_has_no_rights_and_no_terminal_and_three_ways_to_write(tmp_path: Path, world: World) -> None:
    out = tmp_path / "out"
    out.mkdir()
    script = (
        "grep -E '^(Uid|Gid|Groups|CapPrm|CapEff|CapBnd|CapAmb|NoNewPrivs):' /proc/self/status; ls /dev; tty || true\n"
        "(: >/dev/tty) 2>&1 || true; ls /proc | grep -c '^[0-9]'\n"
        "touch /tmp/a /run/suture/a /run/suture/out/a\n"
    )
    said = Room((Path("/"),)).enter(script, outputs=[(out, "/run/suture/out")])
    lines = dict(line.split(":", 1) for line in said.splitlines() if ":\t" in line)
    assert lines["Uid"].split() == lines["Gid"].split() == [str(BUILDER)] * 4 and not lines["Groups"].split()
    assert {int(v, 16) for k, v in lines.items() if k.startswith("Cap")} == {0} and lines["NoNewPrivs"].strip() == "1"
    assert "not a tty" in said and "tty: No such" not in said and "\nsda\n" not in said and "\nmem\n" not in said
    assert int(said.splitlines()[-1]) <= 4
    assert (out / "a").stat().st_uid == BUILDER


def test_an_installation_has_what_dpkg_needs_and_neither_devices_nor_a_way_out(world: World) -> None:
    room = Room((Path("/"),))
    script = (
        "touch /etc/suture-test; chown 1:1 /etc/suture-test; stat --format=%u /etc/suture-test; grep CapEff "
        "/proc/self/status\n"
    )
    said = room.enter(script, rights=Rights.INSTALL)
    assert said.startswith("1\n") and not Path("/etc/suture-test").exists()
    capabilities = int(said.split()[-1], 16)
    assert not any(
        capabilities & 1 << n for n in (2, 12, 16, 17, 18, 19, 21, 27)
    )  # DAC_READ_SEARCH to MKNOD: capabilities(7)
    for attack in ("mount", "make a device", "set what the kernel runs", "see a process of the host"):
        try:
            said = room.enter(world.script(attack), rights=Rights.INSTALL)
        except CommandFailed as failed:
            said = failed.output
        assert "done" not in said, attack


def test_a_sandbox_that_cannot_be_made_is_said_with_what_allows_it(world: World) -> None:
    """Without the capability to make namespaces, as in a container."""
    program = (
        "from pathlib import Path; from suture.compile.room import Room, NoSandbox\n"
        "try: Room((Path('/'),)).enter('true')\nexcept NoSandbox as e: print(e.what, e.remedy)\n"
    )
    drop = ["setpriv", "--bounding-set=-sys_admin", sys.executable, "-c", program]
    said = subprocess.run(drop, capture_output=True, text=True, check=False)
    assert "unshare" in said.stdout and "namespaces" in said.stdout, said.stderr


def test_a_compiler_that_reads_without_end_ends(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SUTURE_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(job, "_MOST_MEMORY", 256 << 10)
    root = tmp_path / "tree"
    root.mkdir()
    (root / "a.c").write_text("int a;\n")
    shutil.copy("/bin/true", root / "prog")
    subprocess.run(["gcc", "-c", "a.c"], cwd=root, check=True)
    row = f'[{{"directory": "{root}", "file": "a.c", "arguments": ["gcc", "-c", "a.c"]}}]'
    (root / database.NAME).write_text(row)
    tree = host.open_tree(root, root / "prog").post(
        parse('--- a/a.c\n+++ b/a.c\n@@ -1 +1 @@\n-int a;\n+#include "/dev/zero"\n', "f")
    )
    with pytest.raises(CompileFailed):
        tree.compile([(tree.units[0], Variant.PLAIN)])


def test_no_process_and_no_mount_outlives_a_room(world: World) -> None:
    before = Path("/proc/self/mountinfo").read_text()
    said = Room((Path("/"),)).enter(
        "sleep 308 & setsid sleep 308 & sleep 0.2; cat /proc/[0-9]*/cmdline | tr '\\0' ' '\n"
    )
    assert said.count("sleep 308 ") == 2
    assert Path("/proc/self/mountinfo").read_text() == before
    assert not running("sleep\x00308\x00")


def test_the_sandbox_ends_with_whoever_asked_for_it(world: World, tmp_path: Path) -> None:
    """Killed at once, nothing of it runs on."""
    program = (
        "from pathlib import Path; from suture.compile.room import Room\nRoom((Path('/'),)).enter('exec sleep 307')\n"
    )
    asking = subprocess.Popen([sys.executable, "-c", program])
    sleeps = wait_for(lambda: running("sleep\x00307\x00"))
    asking.kill()
    asking.wait()
    assert sleeps and wait_for(lambda: not running("sleep\x00307\x00"))


def running(command: str) -> list[str]:
    found = []
    for place in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            found += [place.parent.name] if place.read_bytes() == command.encode() else []
        except OSError:
            continue
    return found


def wait_for(condition: Any) -> Any:
    for _ in range(100):
        found = condition()
        if found:
            return found
        threading.Event().wait(0.1)
    return None


def test_a_fix_and_a_compiler_that_the_tree_names_change_nothing_but_objects(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The recorded compiler is a script of the tree that writes wherever it can, and then compiles."""
    monkeypatch.setenv("SUTURE_CACHE", str(tmp_path / "cache"))
    root, marks = tmp_path / "tree", tmp_path / "marks"
    root.mkdir()
    marks.mkdir(mode=0o777)
    (root / "a.c").write_text("int a(void) { return 1; }\n")
    (root / "cc").write_text(f'#!/bin/sh\nid >{marks}/ran; id >{root}/ran; id >/tmp/suture-ran; exec gcc "$@"\n')
    (root / "cc").chmod(0o755)
    shutil.copy("/bin/true", root / "prog")
    (root / database.NAME).write_text(
        f'[{{"directory": "{root}", "file": "a.c", "output": "a.o", "arguments": ["{root}/cc", "-c", "a.c", "-o", '
        f'"a.o"]}}]'
    )
    tree = host.open_tree(root, root / "prog")
    post = tree.post(
        parse("--- a/a.c\n+++ b/a.c\n@@ -1 +1 @@\n-int a(void) { return 1; }\n+int a(void) { return 2; }\n", "f")
    )
    one, two = (t.compile([(t.units[0], Variant.PLAIN)])[0].path for t in (tree, post))
    assert one.read_bytes()[:4] == b"\x7fELF" and one.read_bytes() != two.read_bytes()
    assert list(marks.iterdir()) == [] and not (root / "ran").exists() and not Path("/tmp/suture-ran").exists()
