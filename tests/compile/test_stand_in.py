"""What stands in for compilers while a build is recorded."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest

from suture.compile import stand_in


@pytest.fixture
def tools(tmp_path: Path) -> Path:
    (tmp_path / "tools").mkdir()
    stand_in.install(tmp_path / "tools")
    return tmp_path / "tools"


def test_every_compiler_and_archiver_has_a_stand_in_that_sh_can_read(tools: Path) -> None:
    found = {p.name for p in tools.iterdir()}
    assert found == {*stand_in.COMPILERS, *stand_in.ARCHIVERS} and {"gcc", "g++-12", "clang-16", "gcc-ar"} <= found
    stand_in.keep_going(tools)
    for name in ("gcc", "suture-realize", "ninja"):
        assert os.access(tools / name, os.X_OK)
        subprocess.run(["sh", "-n", tools / name], check=True)


@pytest.mark.parametrize(
    ("command", "made", "mark"),
    [
        (["gcc", "-c", "a.c"], "a.o", stand_in.MARK),
        (["cc", "-o", "a", "a.o"], "a", stand_in.PROGRAM),
        (["ar", "rc", "liba.a", "a.o"], "liba.a", stand_in.EMPTY),
    ],
)
def test_what_is_written_begins_with_its_mark(
    tools: Path, tmp_path: Path, command: list[str], made: str, mark: bytes
) -> None:
    log = tmp_path / "log"
    log.mkdir()
    env = {"PATH": f"{tools}:/usr/bin:/bin", **stand_in.environment(str(log), stand_in.STUB, "/usr/bin:/bin")}
    subprocess.run(command, cwd=tmp_path, env=env, check=True)
    assert (tmp_path / made).read_bytes().startswith(mark)
    assert any(command[0].encode() in p.read_bytes() for p in log.iterdir() if p.is_file())


def test_a_question_goes_to_the_real_compiler_and_is_not_noted(tools: Path, tmp_path: Path) -> None:
    log = tmp_path / "log"
    log.mkdir()
    env = {"PATH": f"{tools}:/usr/bin:/bin", **stand_in.environment(str(log), stand_in.STUB, "/usr/bin:/bin")}
    asked = subprocess.run(["gcc", "-dumpmachine"], env=env, check=True, capture_output=True, text=True)
    assert asked.stdout == "x86_64-linux-gnu\n" and not list(log.iterdir())


@pytest.mark.parametrize(
    ("folder", "command", "made"),
    [
        (".", ["gcc", "conftest.c"], "a.out"),
        (".", ["gcc", "-c", "conftest.c"], "conftest.o"),
        ("CMakeFiles/CMakeTmp", ["gcc", "-o", "cmTC_1", "../../test.c"], "cmTC_1"),
        ("meson-private/tmp1", ["gcc", "../../test.c", "-o", "output.exe"], "output.exe"),
    ],
)
def test_a_test_of_a_configuration_is_made_for_real(
    tools: Path, tmp_path: Path, folder: str, command: list[str], made: str
) -> None:
    log = tmp_path / "log"
    log.mkdir()
    (tmp_path / folder).mkdir(parents=True, exist_ok=True)
    for name in ("conftest.c", "test.c"):
        (tmp_path / name).write_text("int main(void) { return 0; }\n")
    env = {"PATH": f"{tools}:/usr/bin:/bin", **stand_in.environment(str(log), stand_in.STUB, "/usr/bin:/bin")}
    subprocess.run(command, cwd=tmp_path / folder, env=env, check=True)
    assert (tmp_path / folder / made).read_bytes().startswith(b"\x7fELF") and not list(log.iterdir())
