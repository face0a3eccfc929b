"""A test machine that does not come up, or goes away: told in words, and emulation tried where acceleration fails."""

from __future__ import annotations

import os
import stat
import time
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from suture.machine import vm
from suture.machine.vm import Guest, GuestFailed

# Takes the connection of the agent's socket and resets it: what is not read when a socket closes makes it a reset.
_DYING = """#!/usr/bin/python3
import socket, struct, sys, os
with open({log!r}, "a") as log: print(sys.argv[sys.argv.index("-accel") + 1].split(",")[0], file=log)
path = next(x for x in sys.argv if x.startswith("unix:")).removeprefix("unix:").split(",")[0]
listening = socket.socket(socket.AF_UNIX)
listening.bind(path)
listening.listen()
talk = listening.accept()[0]
{then}
talk.close()
"""


def fake(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, then: str) -> Path:
    """A qemu in the path, which notes how it was started."""
    log, program = tmp_path / "started", tmp_path / "bin/qemu-system-x86_64"
    program.parent.mkdir()
    program.write_text(_DYING.format(log=str(log), then=then))
    program.chmod(program.stat().st_mode | stat.S_IXUSR)
    monkeypatch.setenv("PATH", f"{program.parent}:{os.environ['PATH']}")
    monkeypatch.setenv("SUTURE_CACHE", str(tmp_path / "cache"))
    monkeypatch.delenv("SUTURE_ACCEL", raising=False)
    monkeypatch.setattr(vm, "initrd", lambda target, shared: b"")
    return log


@pytest.fixture
def target(tmp_path: Path) -> Any:
    return SimpleNamespace(vmlinuz=tmp_path / "image")


def test_a_qemu_that_dies_while_it_boots_is_told_and_emulation_is_tried(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, target: Any
) -> None:
    log = fake(tmp_path, monkeypatch, "")
    with pytest.raises(GuestFailed, match="ended, or gave no answer"), Guest(target):
        pass
    assert log.read_text().split()[-1] == "tcg"


def test_a_qemu_that_dies_before_a_command_is_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, target: Any
) -> None:
    fake(tmp_path, monkeypatch, 'talk.sendall(b"UP 1\\n"); import time; time.sleep(1)')
    with Guest(target) as guest:
        time.sleep(1.5)
        with pytest.raises(GuestFailed, match="ended"):
            guest.run("true")
