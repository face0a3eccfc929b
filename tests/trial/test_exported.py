"""Functions of a library called with zeros and with zeroed memory, by the program that the trial runs."""

from __future__ import annotations

import subprocess
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from suture.elf.file import ElfFile
from suture.trial.exported import Returns, exported, lost
from suture.trial.trial import _LOAD

LIBRARY = """
#include <stdlib.h>
#include <unistd.h>
struct all { int *inner; };
int quiet(struct all *all) { return all ? 1 : 0; }
int deep(struct all *all) { return *all->inner; }
int shallow(struct all *all) { return all->inner != 0; }
int leaves(void) { exit(0); }
int waits(void) { return pause(); }
static int hidden(int a) { return a + 1; }
int (*kept)(int) = hidden;
"""


@pytest.fixture(scope="module")
def library(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("exported")
    for name, text, more in (("x.so", LIBRARY, ("-shared", "-fPIC")), ("load", _LOAD, ("-ldl",))):
        (folder / f"{name}.c").write_text(text)
        subprocess.run(["gcc", "-O1", "-o", folder / name, folder / f"{name}.c", *more], check=True)
    return folder / "x.so"


def called(library: Path, *names: str) -> Returns:
    command = [str(library.parent / "load"), str(library), *names]
    return Returns.read(subprocess.run(command, check=True, capture_output=True, timeout=30).stdout)


def test_a_call_that_returns_is_told_from_one_that_ends_its_process(library: Path) -> None:
    found = called(library, "quiet", "deep", "shallow", "leaves", "no-such-function")
    pointed = {f"{n}/{k}" for n in ("quiet", "shallow") for k in (1, 2, 3)}
    assert found.returned == {"quiet/0", *pointed}
    assert found.ended == {f"{n}/{k}" for n in ("deep", "leaves") for k in range(4)} | {"shallow/0"}


def test_a_call_that_does_not_end_says_nothing_and_others_are_still_called(library: Path) -> None:
    found = called(library, "waits", "quiet")
    assert "quiet/0" in found.returned and not [x for x in (*found.returned, *found.ended) if x.startswith("waits")]


def test_what_a_patch_replaces_of_what_the_library_offers_is_called_by_its_name(library: Path) -> None:
    elf = ElfFile.read(library)
    places = {s.name: s.st_value for s in elf.symbols}
    functions = [SimpleNamespace(address=places[n], name=f"{n}.x") for n in ("shallow", "hidden", "deep")]
    manifest: Any = SimpleNamespace(groups=[SimpleNamespace(functions=functions)])
    names = exported(elf, manifest)
    assert names == {"deep": "deep.x", "shallow": "shallow.x"}
    assert called(library, *names).calls(names) == {"deep.x": 4, "shallow.x": 4}


def test_a_function_is_lost_when_a_call_that_always_returned_ends_its_process() -> None:
    first, second = b"a/0 returned\na/1 returned\nb/0 returned\nc/0 ended\n", b"a/0 returned\na/1 ended\nb/0 returned\n"
    assert lost([first, second], b"a/0 returned\na/1 ended\nb/0 ended\nc/0 ended\n") == ("b",)
    assert lost([first, second], b"a/0 returned\n") == (), "a call that is not told of did not end in time"
