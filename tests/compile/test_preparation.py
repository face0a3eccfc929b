"""The shell with which a package's own steps are taken."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from suture.compile import preparation


@pytest.mark.parametrize(
    ("file", "line", "becomes"),
    [
        ("build.make", "\t/usr/bin/c++ $(CXX_FLAGS) -c x.cc", "\tc++ $(CXX_FLAGS) -c x.cc"),
        ("build.make", "\tcd lib && /usr/bin/cc -c x.c", "\tcd lib && cc -c x.c"),
        ("build.ninja", "  COMMAND = /usr/bin/ar qc libx.a x.o", "  COMMAND = ar qc libx.a x.o"),
        ("link.txt", "/usr/bin/x86_64-linux-gnu-gcc-12 -o x x.o", "x86_64-linux-gnu-gcc-12 -o x x.o"),
        ("build.make", "\t/usr/bin/ccache /usr/bin/python3 c++", "\t/usr/bin/ccache /usr/bin/python3 c++"),
    ],
)
def test_what_cmake_writes_calls_compilers_by_name_where_a_stand_in_is_found(
    tmp_path: Path, file: str, line: str, becomes: str
) -> None:
    (tmp_path / "obj/CMakeFiles/x.dir").mkdir(parents=True)
    (tmp_path / "obj/CMakeCache.txt").touch()
    place = tmp_path / "obj/CMakeFiles/x.dir" / file
    place.write_text(f"{line}\n")
    subprocess.run(["sh", "-euc", f"{preparation._PRELUDE}\ncall_by_name\n"], cwd=tmp_path, check=True)
    assert place.read_text() == f"{becomes}\n"
