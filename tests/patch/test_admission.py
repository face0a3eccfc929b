"""Which patch files a host takes: plain ones that nobody else could have written, with a verdict and a proof."""

from __future__ import annotations

import fcntl
import os
import signal
import subprocess
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from suture.error import ExitCode, Refused, SutureError
from suture.patch.admission import NotOwned, admit, read_bytes
from suture.patch.file import read_patch
from tests.nobody import NOBODY, run_as_nobody
from tests.patch.test_file import patch


@pytest.fixture
def path(tmp_path: Path) -> Path:
    place = tmp_path / "folder/p.suture.o"
    place.parent.mkdir(mode=0o755)
    place.write_bytes(patch())
    place.chmod(0o644)
    return place


def test_a_file_of_ones_own_is_taken_also_through_a_link_and_from_a_sticky_folder(path: Path, tmp_path: Path) -> None:
    (tmp_path / "link").symlink_to(path)
    for name in (path, tmp_path / "link"):
        assert read_patch(name, owned=True).id == read_patch(path).id
    path.parent.chmod(0o1777)
    assert read_patch(path, owned=True)


CHANGES: dict[str, Callable[[Path], object]] = {
    "others may write the file": lambda p: p.chmod(0o646),
    "its group may write the file": lambda p: p.chmod(0o664),
    "another owns the file": lambda p: os.chown(p, NOBODY, 0),
    "others may write the folder": lambda p: p.parent.chmod(0o777),
    "another owns the folder": lambda p: os.chown(p.parent, NOBODY, 0),
    "others may write a folder above": lambda p: p.parent.parent.chmod(0o757),
}


@pytest.mark.parametrize("name", CHANGES)
def test_a_file_that_another_could_have_written_is_refused_with_the_command_that_mends_it(
    path: Path, name: str
) -> None:
    CHANGES[name](path)
    with pytest.raises(NotOwned) as caught:
        read_patch(path, owned=True)
    assert caught.value.exit_code is ExitCode.REFUSED
    command = caught.value.remedy.split("then: ")[1]
    assert command.split()[0] in ("chmod", "chown")
    assert read_patch(path)  # to look at it is allowed
    subprocess.run(command, shell=True, check=True)
    assert read_patch(path, owned=True)


def test_a_link_of_another_user_is_refused_and_so_is_a_link_in_the_way(path: Path, tmp_path: Path) -> None:
    link = tmp_path / "link"
    link.symlink_to(path.parent)
    os.lchown(link, NOBODY, NOBODY)
    with pytest.raises(NotOwned):
        read_patch(link / path.name, owned=True)


def test_a_file_behind_a_link_counts_with_its_own_folders(path: Path, tmp_path: Path) -> None:
    (tmp_path / "link").symlink_to(path)
    path.parent.chmod(0o777)
    with pytest.raises(NotOwned):
        read_patch(tmp_path / "link", owned=True)


def test_what_is_no_plain_file_is_refused_at_once(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "fifo")
    (tmp_path / "zero").symlink_to("/dev/zero")
    (tmp_path / "loop").symlink_to("loop")
    (tmp_path / "dangling").symlink_to("nowhere")
    (tmp_path / "folder").mkdir()
    began = time.monotonic()
    for name in ("fifo", "zero", "loop", "dangling", "folder", "n" * 300, "a\0b", "fifo/x"):
        with pytest.raises(SutureError) as caught:
            read_patch(tmp_path / name)
        assert caught.value.exit_code in (ExitCode.BAD_PATCH, ExitCode.NOT_FOUND)
    assert time.monotonic() - began < 2


def test_who_holds_a_lease_is_not_waited_for(path: Path) -> None:
    child = os.fork()
    if child == 0:
        signal.signal(signal.SIGIO, signal.SIG_IGN)
        fcntl.fcntl(os.open(path, os.O_RDWR), fcntl.F_SETLEASE, fcntl.F_WRLCK)
        time.sleep(60)
        os._exit(0)
    try:
        deadline = time.monotonic() + 20
        while "LEASE" not in Path("/proc/locks").read_text() and time.monotonic() < deadline:
            time.sleep(0.01)
        began = time.monotonic()
        with pytest.raises(SutureError, match="lease"):
            read_patch(path)
        assert time.monotonic() - began < 5
    finally:
        os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)


def test_a_file_that_may_not_be_read_is_told_as_that(path: Path) -> None:
    path.chmod(0o600)
    code = f"from suture.cli.main import main; import sys; sys.exit(main(['show', {str(path)!r}]))"
    done = run_as_nobody(code, path.parent)
    assert done.returncode == ExitCode.NO_PERMISSION, done.stderr


def test_a_file_larger_than_any_patch_is_not_read(path: Path) -> None:
    os.truncate(path, 1 << 40)
    with pytest.raises(SutureError, match="more than any patch"):
        read_bytes(path, 1 << 20)


@pytest.mark.parametrize("option", ["accept_partial", "accept_unproved"])
def test_a_patch_without_all_of_its_fix_or_without_proof_goes_in_only_when_a_person_says_so(option: str) -> None:
    facts: dict[str, Any] = {
        "is_complete": option != "accept_partial",
        "is_proved": option != "accept_unproved",
        "missing": ["x.c: f: why"],
    }
    with pytest.raises(Refused) as caught:
        admit("p.suture.o", **facts)
    assert f"--{option.replace('_', '-')}" in caught.value.remedy
    (other,) = {"accept_partial", "accept_unproved"} - {option}
    with pytest.raises(Refused):
        admit("p.suture.o", **{**facts, other: True})
    admit("p.suture.o", **{**facts, option: True})
    admit("p.suture.o", is_complete=True, is_proved=True, missing=())


def test_whose_a_file_is_is_asked_only_of_what_is_to_be_applied(path: Path) -> None:
    path.chmod(0o666)
    assert read_bytes(path, 1 << 20) == path.read_bytes()
    with pytest.raises(NotOwned):
        read_bytes(path, 1 << 20, owned=True)
