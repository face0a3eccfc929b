"""Whoever opens a marked file waits for the answer, under any name, and goes on when the group is closed."""

from __future__ import annotations

import os
import select
from pathlib import Path
from typing import Any

import pytest

from suture.process.start.opening import FileId, Openings, answer
from tests.process.start.conftest import Opens


def test_who_opens_the_file_waits_for_the_answer(file: Path, opens: Opens, tmp_path: Path) -> None:
    other = tmp_path / "other"
    os.link(file, other)
    with Openings() as openings:
        identity = openings.add(str(file))
        for name in (file, other):
            reader = opens(name)
            assert select.select([openings.group], [], [], 10)[0]
            (opening,) = openings.waiting()
            assert opening.file == identity and opening.tid == reader.pid and not opening.executes
            assert reader.poll() is None
            openings.allow(opening)
            assert reader.communicate(timeout=10)[0] == "content"
        assert not list(openings.waiting())
        file.unlink()
        fd = os.open(other, os.O_PATH)
        assert FileId.of(fd) == identity
        os.close(fd)


def test_closing_lets_everybody_go_on(file: Path, opens: Opens) -> None:
    with Openings() as openings:
        openings.add(str(file))
        readers = [opens(file) for _ in range(3)]
        assert select.select([openings.group], [], [], 10)[0]
    assert [r.communicate(timeout=10)[0] for r in readers] == ["content"] * 3


def test_who_was_killed_meanwhile_needs_no_answer(file: Path, opens: Opens, eventually: Any) -> None:
    with Openings() as openings:
        openings.add(str(file))
        reader = opens(file)
        assert select.select([openings.group], [], [], 10)[0]
        (opening,) = openings.waiting()
        reader.kill()
        reader.wait()
        eventually(lambda: not answer(openings.group, opening.fd))
        openings.allow(opening)


def test_all_that_wait_can_be_let_go(file: Path, opens: Opens) -> None:
    with Openings() as openings:
        openings.add(str(file))
        readers = [opens(file) for _ in range(3)]
        gone = 0
        while gone < 3:
            assert select.select([openings.group], [], [], 10)[0]
            gone += Openings.let_all_go(openings.group)
        assert [r.communicate(timeout=10)[0] for r in readers] == ["content"] * 3


def test_a_file_that_is_not_there_is_an_error() -> None:
    with Openings() as openings, pytest.raises(FileNotFoundError):
        openings.add("/nonexistent/file")
