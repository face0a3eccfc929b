"""A host that only applies patches needs the standard library and Suture alone; what else a verb needs is named with
its extra."""

from __future__ import annotations

import json
import re
import subprocess
import sys
import tomllib
from pathlib import Path
from typing import Any

import suture
from suture.cli.extra import EXTRA_OF, missing
from suture.error import ExitCode
from tests import command
from tests.cli.test_make import ask, difference, running

ROOT = Path(__file__).resolve().parents[2]
# The interpreter without any package but ours; what it has imported in the end is told on stderr.
BARE = """
import sys
sys.path.insert(0, sys.argv.pop(1))
from suture.cli.main import main
code = main()
print("imported:", *{m.partition(".")[0] for m in sys.modules}, file=sys.stderr)
sys.exit(code)
"""
PROGRAM = """
#include <stdio.h>
__attribute__((noinline)) int answer(int x) { return x * 3 + 1; }
int main(void) { char l[64]; setvbuf(stdout, 0, _IOLBF, 0); while (fgets(l, 64, stdin)) printf("%d\\n", answer(l[0])); }
"""


def bare(*words: object, codes: tuple[int, ...] = (ExitCode.OK,)) -> Any:
    """The answer of a verb, as JSON, in an installation without extras; it must end with one of `codes`."""
    argv = [sys.executable, "-I", "-S", "-c", BARE, Path(suture.__file__).parents[1], *words, "--json"]
    done = subprocess.run([str(a) for a in argv], capture_output=True, text=True, check=False)
    assert done.returncode in codes, done.stdout + done.stderr
    foreign = (
        set(done.stderr.rpartition("imported:")[2].split()) - set(sys.stdlib_module_names) - {"__main__", "__mp_main__"}
    )
    assert foreign == {"suture"}
    return json.loads(done.stdout)


def ready_patch(folder: Path) -> tuple[Path, Path]:
    """A program and a live patch for it, made with all that making needs."""
    source, program, fix = folder / "answer.c", folder / "answer", folder / "answer.patch"
    source.write_text(PROGRAM)
    (folder / "Makefile").write_text("answer: answer.c\n\tgcc -O2 -o answer answer.c\n")
    fix.write_bytes(difference("answer.c", PROGRAM.encode(), PROGRAM.replace("x * 3 + 1", "x * 3 + 2").encode()))
    command.suture("record", "--", "make", cwd=folder, check=True)
    words: list[str | Path] = ["make", "--tree", folder, "--binary", program, "--fix", fix, "--output", folder / "out"]
    command.suture(*words, check=True)
    (patch,) = (folder / "out").glob("*.suture.o")
    return program, patch


def test_all_that_a_host_does_with_a_ready_patch_imports_the_standard_library_alone(tmp_path: Path) -> None:
    program, patch = ready_patch(tmp_path)
    with running(program) as process:
        assert ask(process, "a") == str(ord("a") * 3 + 1)
        shown = bare("show", patch)
        # partial: a process that may not be looked at
        bare("scan", "--patches", patch.parent, codes=(ExitCode.OK, ExitCode.PARTIAL))
        bare("apply", patch, process.pid, "--dry-run")
        bare("apply", patch, process.pid)
        assert ask(process, "a") == str(ord("a") * 3 + 2)
        assert shown["patch"]["id"] in json.dumps(bare("status", process.pid))
        bare("revert", shown["patch"]["id"], process.pid)
        assert ask(process, "a") == str(ord("a") * 3 + 1)
    bare("status", "--kernel")
    bare("uname")


def test_what_making_needs_is_named_with_its_extra(tmp_path: Path) -> None:
    fix = tmp_path / "x.patch"
    fix.write_bytes(difference("a.c", b"1\n", b"2\n"))
    said = bare("make", "--source", "zlib=1:1.2.13.dfsg-1", "--fix", fix, codes=(ExitCode.NOT_FOUND,))
    assert "extra 'make'" in said["error"]
    assert re.fullmatch(r"add it: \S+ -m pip install 'suture\[make\]==\S+'", said["remedy"])


def test_what_a_feed_needs_is_named_with_its_extra(tmp_path: Path) -> None:
    words = ["feed", "fetch", "--url", "http://127.0.0.1:1/", "--build-id", "aa", "--into", tmp_path]
    said = bare(*words, codes=(ExitCode.NOT_FOUND,))
    assert "extra 'feed'" in said["error"] and "'suture[feed]==" in said["remedy"]


# Modules that are called otherwise than their package; starlette comes with what is made of it.
PACKAGE_OF = {"debian": "python-debian", "argon2": "argon2-cffi", "starlette": "fastapi"}


def test_every_extra_that_an_error_names_brings_the_package() -> None:
    extras = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["optional-dependencies"]
    for module, extra in EXTRA_OF.items():
        name = PACKAGE_OF.get(module, module.replace("_", "-"))
        assert any(r.startswith(f"{name}==") for r in extras[extra]), module


def test_another_module_that_is_not_there_is_no_missing_extra() -> None:
    assert missing(ModuleNotFoundError("no", name="nothing.below")) is None
