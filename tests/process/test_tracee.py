"""A number may come to mean another process; the tracee is the one that it was opened for."""

from __future__ import annotations

import ctypes
import os
import signal
import struct
import time
from collections.abc import Iterator
from contextlib import suppress

import pytest

from suture.process.error import NoProcess
from suture.process.tracee import Tracee

LIBC = ctypes.CDLL(None, use_errno=True)
CLONE3 = 435  # x86-64, syscall_64.tbl


def sleeper() -> int:
    pid = os.fork()
    if pid == 0:
        with suppress(BaseException):
            time.sleep(60)
        os._exit(0)
    return pid


def end(pid: int) -> None:
    os.kill(pid, signal.SIGKILL)
    os.waitpid(pid, 0)


@pytest.fixture
def process() -> Iterator[int]:
    pid = sleeper()
    yield pid
    with suppress(ProcessLookupError, ChildProcessError):
        end(pid)


def reborn(pid: int) -> int:
    """A new process under the number of one that has ended: clone(2), set_tid, which nobody else's fork can take."""
    wanted = (ctypes.c_int * 1)(pid)
    given = struct.pack("11Q", 0, 0, 0, 0, signal.SIGCHLD, 0, 0, 0, ctypes.addressof(wanted), 1, 0)
    new = LIBC.syscall(CLONE3, given, len(given))
    if new == 0:
        signal.pause()
        os._exit(0)
    assert new == pid, os.strerror(ctypes.get_errno())
    return pid


def test_a_process_that_lives_on_is_the_same(process: int) -> None:
    with Tracee(process) as tracee:
        tracee.check_same()


def test_a_new_process_under_the_old_number_is_not_taken_for_the_old_one(process: int) -> None:
    with Tracee(process) as tracee:
        time.sleep(2 / os.sysconf("SC_CLK_TCK"))  # start times are told in clock ticks
        end(process)
        new = reborn(process)
        assert new == process
        with pytest.raises(NoProcess) as caught:
            tracee.check_same()
        assert str(process) in caught.value.what


def test_an_ended_process_is_told(process: int) -> None:
    with Tracee(process) as tracee:
        end(process)
        with pytest.raises(NoProcess):
            tracee.check_same()


def test_descriptors_of_what_ends_between_two_looks_at_it_are_those_of_no_process(
    process: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    def ended(folder: int) -> list[str]:
        end(process)
        return listdir(folder)

    listdir = os.listdir
    with Tracee(process) as tracee:
        monkeypatch.setattr(os, "listdir", ended)
        with pytest.raises(NoProcess):
            tracee.descriptors()
