"""One applier at a time, without a trace of it afterwards."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from suture.error import Refused
from suture.process import lock
from suture.process.error import Busy
from suture.process.lock import locked
from suture.process.tracee import Tracee


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(lock, "_folder", lambda: tmp_path / "suture")
    return tmp_path / "suture"


@pytest.fixture
def tracee() -> Iterator[Tracee]:
    process = subprocess.Popen(["sleep", "100"])
    with Tracee(process.pid) as held:
        yield held
    process.kill()
    process.wait()


def test_many_in_turn_are_never_two_at_once_and_leave_nothing(folder: Path, tracee: Tracee) -> None:
    inside, most, done = 0, 0, 0

    def work() -> None:
        nonlocal inside, most, done
        for _ in range(25):
            with locked(tracee, 60):
                inside += 1
                most = max(most, inside)
                time.sleep(0.0005)
                inside -= 1
                done += 1

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert (most, done) == (1, 100)
    assert os.listdir(folder) == []


def test_whoever_waited_for_a_file_that_is_gone_does_not_take_it_for_the_lock(folder: Path, tracee: Tracee) -> None:
    path = folder / f"{tracee.pid}-{tracee.start_time}.lock"
    with locked(tracee, 1):
        path.unlink()  # as by a person; then another makes it anew
        with locked(tracee, 1):
            assert path.exists()
            with pytest.raises(Busy), locked(tracee, 0):
                pass


def test_a_lock_is_given_back_when_the_work_fails(folder: Path, tracee: Tracee) -> None:
    with pytest.raises(KeyError), locked(tracee, 1):
        raise KeyError
    assert os.listdir(folder) == []


def test_what_killed_appliers_left_is_taken_away_and_nothing_else(folder: Path, tracee: Tracee) -> None:
    folder.mkdir(mode=0o700)
    held = f"{tracee.pid}-{tracee.start_time}.lock"
    for name in ("999999999-5.lock", f"{tracee.pid}-1.lock", held, "notes.txt"):
        (folder / name).touch()
    process = subprocess.Popen([sys.executable, "-c", "pass"])
    process.wait()
    other = Tracee(os.getpid())
    with other, locked(other, 1):
        assert sorted(os.listdir(folder)) == sorted([held, "notes.txt", f"{other.pid}-{other.start_time}.lock"])


@pytest.mark.parametrize("kind", ["link", "others write", "file"])
def test_a_folder_that_others_have_laid_out_is_refused(folder: Path, tracee: Tracee, kind: str, tmp_path: Path) -> None:
    if kind == "link":
        (tmp_path / "elsewhere").mkdir()
        folder.symlink_to(tmp_path / "elsewhere")
    else:
        folder.mkdir()
        folder.chmod(0o777)
    if kind == "file":
        folder.rmdir()
        folder.symlink_to("/etc/passwd")
    with pytest.raises(Refused), locked(tracee, 0):
        pass


def test_without_root_no_name_in_tmp_is_used(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: 1234)
    monkeypatch.delenv("XDG_RUNTIME_DIR", raising=False)
    monkeypatch.setenv("HOME", "/home/somebody")
    assert lock._folder() == Path("/home/somebody/.cache/suture/lock")


def test_a_folder_that_cannot_be_made_is_refused_with_the_remedy(
    tmp_path: Path, tracee: Tracee, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As for a user whose home cannot be written to; root is stopped by a file in the way."""
    (tmp_path / "home").write_text("no folder")
    monkeypatch.setattr(lock, "_folder", lambda: tmp_path / "home/.cache/suture/lock")
    with pytest.raises(Refused) as raised, locked(tracee, 1):
        pass
    assert "XDG_RUNTIME_DIR" in raised.value.remedy
