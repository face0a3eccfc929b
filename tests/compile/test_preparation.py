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


@pytest.mark.parametrize(
    ("steps", "configured", "built"),
    [
        (["a", "dh_auto_configure", "dh_auto_build", "b", "dh_auto_test"], ["a", "conf"], ["build", "b"]),
        (["a", "debian/rules override_dh_auto_configure", "dh_auto_build"], ["a", "rules"], ["build"]),
        (["a", "debian/rules override_dh_auto_build", "dh_auto_test"], ["a"], ["rules"]),
        (["a", "dh_auto_configure", "b"], ["a", "conf"], ["b"]),
    ],
)
def test_what_dh_does_is_taken_apart_where_it_configures(
    tmp_path: Path, steps: list[str], configured: list[str], built: list[str]
) -> None:
    """git overrides the configuration with nothing, and dh then has no such step; what dh writes down for itself is
    none either."""
    listed = "".join(f"   {step}\n" for step in [*steps, "create-stamp debian/debhelper-build-stamp"])
    (tmp_path / "debian").mkdir()
    (tmp_path / "steps").write_text(f"dh build-arch\n{listed}")
    rules = '#!/bin/sh\nif [ "$DH_NO_ACT" ]; then cat steps; else echo rules >>said; fi\n'
    programs = {"debian/rules": rules, "a": "#!/bin/sh\necho a >>said\n", "b": "#!/bin/sh\necho b >>said\n"}
    programs |= {f"dh_auto_{n}": f"#!/bin/sh\necho {n[:4]} >>said\n" for n in ("configure", "test")}
    programs["dh_auto_build"] = "#!/bin/sh\necho build >>said\n"
    for name, text in programs.items():
        (tmp_path / name).write_text(text)
        (tmp_path / name).chmod(0o755)
    for step, said in (("dh_configure", configured), ("dh_build", built)):
        script = f"{preparation._PRELUDE}\ndh_flags() {{ :; }}\nPATH=$PWD:$PATH INSIDE=$PWD MAKEFLAGS=\n{step}\n"
        subprocess.run(["sh", "-euc", script], cwd=tmp_path, check=True)
        assert (tmp_path / "said").read_text().split() == said
        (tmp_path / "said").unlink()
