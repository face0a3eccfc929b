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


@pytest.mark.parametrize("target", ["build-arch", "build", "binary-arch"])
def test_what_is_compiled_where_it_is_packed_is_recorded_from_there(tmp_path: Path, target: str) -> None:
    """dnsmasq's build target does nothing; binary-arch compiles twice, between steps that only root may take."""
    (tmp_path / "debian").mkdir()
    for folder in ("inside", "log", "bin"):
        (tmp_path / folder).mkdir()
    (tmp_path / "bin/cc").write_text('#!/bin/sh\necho "$@" >>"$SUTURE_RECORD/calls"\n')
    (tmp_path / "bin/cc").chmod(0o755)
    packed = '\ttest root = "`whoami`" && test 0 = `id -u`\n\tcc one.c\n\tchown nobody-of-that-name debian\n'
    packed += "\tdpkg --build debian ..\n\tcc two.c\n"
    plain = "\tcc one.c\n\tcc two.c\n"
    rules = {
        "build-arch": {"build-arch": plain, "build": "", "binary-arch": packed},
        "build": {"build": plain, "binary-arch": packed},  # an old package has no build-arch
        "binary-arch": {"build": "", "build-arch": "", "binary-arch": packed},
    }[target]
    text = "#!/usr/bin/make -f\n" + "".join(f"{name}:\n{recipe}" for name, recipe in rules.items())
    (tmp_path / "debian/rules").write_text(text)
    (tmp_path / "debian/rules").chmod(0o755)
    script = (
        f"{preparation._PRELUDE}\nexport SUTURE_RECORD=$PWD/log\nPATH=$PWD/bin:$PATH INSIDE=$PWD/inside MAKEFLAGS=\n"
        "(call_rules) || true\n"
    )
    subprocess.run(["sh", "-euc", script], cwd=tmp_path, check=True)
    assert (tmp_path / "log/calls").read_text().split() == ["one.c", "two.c"]
