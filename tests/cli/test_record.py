"""Builds of many kinds, recorded and patched: the program itself, stripped, is found in what the build compiled."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path
from typing import Any

import pytest

from suture.error import ExitCode
from tests.command import suture

FILES = {
    "src/limit.h": "#define LIMIT 1000\nlong allowed(long x);\nlong scaled(long x);\n",
    "src/allowed.c": '#include "limit.h"\nlong allowed(long x) { return x <= LIMIT ? scaled(x) * 3 + x % 7 : -1; }\n',
    "src/scaled.c": '#include "limit.h"\nlong scaled(long x) { return x > LIMIT ? 0 : x * x + x / 3; }\n',
    "src/main.c": ('#include <stdio.h>\n#include "limit.h"\nint main(int c, char **v) { printf("%ld\\n'
        '", allowed(c) + LIMIT); return 0; }\n'),
    "src/other.c": ('#include <stdio.h>\n#include "limit.h"\n'
        'int main(int c, char **v) { return puts(v[0]) + c % LIMIT; }\n'),
    "src/CMakeLists.txt": "cmake_minimum_required(VERSION 3.10)\nproject(p C)\nset(CMAKE_C_FLAGS \"-O2\")\n"
        "add_library(helper STATIC allowed.c scaled.c)\nadd_executable(prog main.c)\n"
        "target_link_libraries(prog helper)\nadd_executable(other other.c)\n",
}  # fmt: skip
FIX = (
    "--- a/src/limit.h\n+++ b/src/limit.h\n@@ -1,3 +1,3 @@\n-#define LIMIT 1000\n+#define LIMIT 10\n"
    " long allowed(long x);\n long scaled(long x);\n"
)
HELP = "gcc -O2 -c src/allowed.c src/scaled.c; mkdir -p lib; ar rcs lib/libhelp.a allowed.o scaled.o; "
KINDS = {
    "compile and link in one call": "gcc -O2 -o prog src/main.c src/allowed.c src/scaled.c; "
        "gcc -O2 -o other src/other.c",
    "several sources in one call": f"{HELP} gcc -O2 -c src/main.c src/other.c; gcc -o prog main.o lib/libhelp.a; "
        "gcc -o other other.o",
    "a library of -L and -l": f"{HELP} gcc -O2 -o prog src/main.c -L lib -lhelp; "
        "gcc -O2 -o other src/other.c -Llib -lhelp",
    "a library within -Wl": (f"{HELP} gcc -O2 -o prog src/main.c -Wl,--whole-archive,lib/libhelp.a,--no-whole-archive; "
        "gcc -o other src/other.c"),
    "response files that are gone": "echo '-O2 -DX=\"a b\" src/main.c' >r; echo 'src/allowed.c src/scaled.c @r' >s; "
        "gcc -o prog @s @r2; rm r s; gcc -O2 -o other src/other.c",
    "a language that is spoken out": "cp src/scaled.c src/scaled.txt; "
        "gcc -O2 -o prog src/main.c src/allowed.c -x c src/scaled.txt; gcc -O2 -o other src/other.c",
}  # fmt: skip
KINDS["response files that are gone"] = KINDS["response files that are gone"].replace(" @r2", "")


@pytest.fixture
def tree(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("SUTURE_CACHE", str(tmp_path / "cache"))
    root = tmp_path / "tree"
    for name, text in FILES.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(text)
    (tmp_path / "fix.patch").write_text(FIX)
    return root


def record(root: Path, *command: str, code: ExitCode = ExitCode.OK) -> Any:
    done = suture("record", "--json", "--", *command, cwd=root)
    assert done.returncode == code, done.stdout + done.stderr
    return json.loads(done.stdout)


def made(root: Path, binary: Path, tree: Path | None = None, fix: str = "fix.patch") -> Any:
    shipped = root.parent / "shipped"
    subprocess.run(["strip", "-o", shipped, binary], check=True)
    words: list[str | Path] = [
        "--tree",
        tree or root,
        "--binary",
        shipped,
        "--fix",
        root.parent / fix,
        "--output",
        root.parent / "out",
        "--json",
    ]
    done = suture("make", *words, cwd=root.parent)
    said = json.loads(done.stdout)
    assert done.returncode == ExitCode.OK and not said["refused"], done.stdout + done.stderr
    return said


@pytest.mark.parametrize("kind", KINDS)
def test_a_build_is_understood_and_the_other_program_is_not_in_the_way(tree: Path, kind: str) -> None:
    record(tree, "sh", "-ec", KINDS[kind])
    (patch,) = made(tree, tree / "prog")["patches"]
    # main has only the sum of a constant; it is patched too, since it holds the limit
    assert {"allowed", "scaled"} <= set(patch["functions"])


def test_what_comes_from_standard_input_is_named(tree: Path) -> None:
    said = record(
        tree, "sh", "-c", "gcc -O2 -x c -c -o x.o - <src/scaled.c; gcc -O2 -c src/main.c", code=ExitCode.PARTIAL
    )
    assert said["units"] == 1 and "x.o, compiled from standard input" in said["untold"][0]


@pytest.mark.parametrize("generator", ["Unix Makefiles", "Ninja"])
def test_a_tree_that_cmake_configured_before_is_recorded(tree: Path, generator: str) -> None:
    configure = ["cmake", "-G", generator, "-S", "src", "-B", "build", "-DCMAKE_EXE_LINKER_FLAGS=-Wl,--build-id"]
    subprocess.run(configure, cwd=tree, check=True)
    assert record(tree, "cmake", "--build", "build")["path"] == str(tree / "build/compile_commands.json")
    said = made(tree, tree / "build/prog")
    assert {"allowed", "scaled"} <= set(said["patches"][0]["functions"])


def test_the_folder_that_cmake_built_in_leads_to_the_source_above_it(tree: Path, tmp_path: Path) -> None:
    for build in (tree / "src/build", tmp_path / "elsewhere"):
        command: list[str | Path] = [
            "cmake",
            "-S",
            "src",
            "-B",
            build,
            "-DCMAKE_EXPORT_COMPILE_COMMANDS=ON",
            "-DCMAKE_EXE_LINKER_FLAGS=-Wl,--build-id",
        ]
        subprocess.run(command, cwd=tree, check=True)
        subprocess.run(["cmake", "--build", build], cwd=tree, check=True)
        (tmp_path / "inner.patch").write_text(FIX.replace("/src/", "/"))
        said = made(tree, build / "prog", build, "inner.patch")
        assert {"allowed", "scaled"} <= set(said["patches"][0]["functions"])


def test_a_build_that_compiles_nothing_is_told_with_all_that_may_be_the_cause(tree: Path) -> None:
    said = record(tree, "true", code=ExitCode.NOT_FOUND)
    assert "no compiler" in said["error"] and all(x in said["remedy"] for x in ("clean", "CC=gcc", "CMAKE_EXPORT"))


def test_an_object_that_was_linked_and_not_compiled_keeps_the_patch_from_claiming_the_fix(tree: Path) -> None:
    compiled = "gcc -O2 -c src/allowed.c src/scaled.c src/main.c && rm -f a.a && ar rc a.a allowed.o scaled.o"
    subprocess.run(compiled, shell=True, cwd=tree, check=True)
    for build, missing in (
        ("gcc -O2 -c src/allowed.c; gcc -o prog main.o allowed.o scaled.o", ["main.o", "scaled.o"]),
        ("gcc -O2 -c src/allowed.c src/main.c; ar r a.a allowed.o; gcc -o prog main.o a.a", ["a.a(scaled.o)"]),
        ("gcc -O2 -c src/main.c; gcc -o prog main.o a.a", ["a.a"]),
    ):
        said = record(tree, "sh", "-ec", build, code=ExitCode.PARTIAL)
        assert said["uncompiled"] == {"prog": missing}
        assert_claims_nothing(tree, missing)


def test_a_binary_that_was_linked_before_the_recording_is_not_claimed(tree: Path) -> None:
    subprocess.run(["gcc", "-O2", "-o", "prog", "src/main.c", "src/allowed.c", "src/scaled.c"], cwd=tree, check=True)
    record(tree, "sh", "-ec", "gcc -O2 -c src/allowed.c")
    assert_claims_nothing(tree, ["the link of prog was not recorded"])


def assert_claims_nothing(root: Path, missing: list[str]) -> None:
    (root.parent / "fix.patch").write_text("CVE-2024-1111: x\n\n" + FIX)
    words: list[str | Path] = [
        "--tree",
        root,
        "--binary",
        root / "prog",
        "--fix",
        root.parent / "fix.patch",
        "--output",
        root.parent,
    ]
    done = suture("make", *words, "--json")
    said = json.loads(done.stdout)
    assert done.returncode == ExitCode.PARTIAL, done.stdout + done.stderr
    (refused,) = said["refused"]
    assert all(x in refused["reason"] for x in missing)
    assert "make clean, then suture record -- make" in refused["remedy"]
    assert not said["patches"][0]["cves"] and not said["patches"][0]["complete"]


def test_an_object_that_the_build_renamed_is_known_by_its_bytes(tree: Path) -> None:
    said = record(
        tree,
        "sh",
        "-ec",
        "gcc -O2 -c src/main.c src/allowed.c src/scaled.c; mv scaled.o s.o; cp allowed.o a.o; gcc -o prog main.o a.o "
        "s.o",
        code=ExitCode.PARTIAL,
    )
    assert said["uncompiled"] == {"prog": ["s.o"]}
