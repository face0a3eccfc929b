"""The two commands on a machine that has nothing: a minimal Debian 12 with git, made for the test."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from suture.command import run
from tests import minimal

pytestmark = [pytest.mark.archive, pytest.mark.slow]

CHECKOUT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def machine() -> Iterator[Path]:
    """The root folder of a minimal system with a clone of this checkout in /root/suture."""
    with minimal.system("git", "ca-certificates") as root:
        run(["git", "clone", "--quiet", str(CHECKOUT), str(root / "root/suture")])
        yield root


def on(machine: Path, *command: str) -> tuple[str, float]:
    return minimal.on(machine, "/root/suture", *command)


def test_the_demo_needs_nothing_but_the_clone_and_is_quick_the_second_time(machine: Path) -> None:
    assert not (machine / "usr/bin/python3").exists()
    first, cold = on(machine, "./demo")
    second, warm = on(machine, "./demo")
    for text in (first, second):
        assert ", failed 0;" in text
        assert "HOLE CLOSED" in text
    assert cold < 240
    assert warm < 60


def test_the_command_is_there_after_the_set_up_and_a_second_set_up_is_silent(machine: Path) -> None:
    on(machine, "./setup")
    text, _ = on(machine, "suture", "--version")
    assert text.startswith("suture ")
    text, seconds = on(machine, "./setup")
    assert text == ""
    assert seconds < 1
