"""A name that the binary never used before: what a library exports, what nobody does, and what the loader chooses."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from suture.compile.host import HostRoom
from suture.compile.tree import Tree
from suture.compile.unit import Binary
from suture.match.run import Run
from suture.patch.elsewhere import Elsewhere
from suture.patch.resolve import Unresolvable


@pytest.fixture
def elsewhere(tmp_path: Path) -> Elsewhere:
    """For a library that needs libc alone."""
    (tmp_path / "x.c").write_text("#include <stdlib.h>\nint f(const char *s) { return atoi(s); }\n")
    library = tmp_path / "libx.so"
    subprocess.run(["gcc", "-O2", "-fPIC", "-shared", "-o", str(library), str(tmp_path / "x.c")], check=True)
    room = HostRoom(str(tmp_path))
    tree = Tree("x", "1", (), (), "gcc", "key", str(tmp_path), tmp_path, tmp_path, room, {})
    return Elsewhere(tree, Binary("x", "libx.so", frozenset()), Run.read(library))


def test_needed_libraries_are_those_that_readelf_lists(elsewhere: Elsewhere, tmp_path: Path) -> None:
    listed = subprocess.run(
        ["readelf", "-dW", str(tmp_path / "libx.so")], check=True, capture_output=True, text=True
    ).stdout
    assert elsewhere.run.needed == tuple(x.split("[")[1].rstrip("]") for x in listed.splitlines() if "(NEEDED)" in x)
    assert elsewhere.run.needed == ("libc.so.6",)


def test_what_a_needed_library_exports_is_an_import(elsewhere: Elsewhere) -> None:
    assert elsewhere.find("strtok_r") is None


def test_what_no_unit_and_no_library_defines_is_refused(elsewhere: Elsewhere) -> None:
    with pytest.raises(Unresolvable, match="ossl_made_by_a_macro"):
        elsewhere.find("ossl_made_by_a_macro")


def test_what_the_loader_chooses_is_an_import_where_the_library_itself_calls_it(elsewhere: Elsewhere) -> None:
    assert elsewhere.find("strpbrk") is None
    assert elsewhere.find("atoi") is None


def test_what_the_loader_chooses_is_refused_where_nothing_shows_the_choice(elsewhere: Elsewhere) -> None:
    with pytest.raises(Unresolvable, match="IFUNC"):
        elsewhere.find("__memcpy_chk")
