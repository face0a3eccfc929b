"""Who reads each file of a fix: on a small tree whose units, graph and compiler's answers are given."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest

from suture.error import Refused
from suture.make_kernel import affected, include
from suture.make_kernel.affected import Readers
from suture.make_kernel.built import Compile, KernelBuild
from suture.make_kernel.include import Includes, graph
from suture.make_kernel.prepare import ROOT, KernelTree
from suture.source.fix import FilePatch

KERNEL = "gcc -mcmodel=kernel"
FILES = {
    "net/own.h": "#define LIMIT 8\nenum { ONE, TWO };\nstatic inline int inner(void) { return LIMIT; }\n"
    "static inline int outer(void) { return inner(); }\n",
    "net/calls.c": '#include "own.h"\nint a(void) { return outer(); }\n',
    "net/counts.c": '#include "own.h"\nint b(void) { return TWO; }\n',
    "net/neither.c": '#include "own.h"\nint c(void) { return 0; }\n',
    "net/ops.h": "struct ops { int (*dump)(int a); };\n",
    "net/gives.c": '#include "ops.h"\nstatic int f(int a) { return a; }\nstruct ops o = { .dump = f };\n',
    "net/takes.c": '#include "ops.h"\nint g(struct ops *o) { return o->dump (1); }\n',
    "net/dump.c": '#include "ops.h"\nint dump;\n',
    "net/part.c": "int d(void) { return 1; }\n",
    "net/whole.c": '#include "part.c"\n',
    "arch/x86/entry/vdso/time.c": '#include "../../../../net/part.c"\n',
    "MAINTAINERS": "N: nobody\n",
    "arch/arm/only.c": "int e;\n",
    "net/Makefile": "obj-y := calls.o\n",
    "net/table.in": "1\n",
}


def compile_of(source: str) -> Compile:
    return Compile(source, source[:-1] + "o", (), KERNEL if "vdso" not in source else "gcc -mcmodel=small")


@pytest.fixture
def search(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> affected._KernelSearch:
    files, new, generated = tmp_path / "old", tmp_path / "new", tmp_path / "generated" / ROOT.lstrip("/")
    for name, text in FILES.items():
        (files / name).parent.mkdir(parents=True, exist_ok=True)
        (files / name).write_text(text)
    generated.mkdir(parents=True)
    rows = [(n, x) for n, text in FILES.items() for x in text.split("\n") if "include" in x]
    includes = Includes(graph(rows, FILES))
    sources = [n for n in FILES if n.endswith(".c") and not n.startswith("arch/arm") and n != "net/part.c"]
    kernel = KernelBuild({s: (compile_of(s),) for s in sources})

    def real(tree: KernelTree, units: Sequence[Compile]) -> Mapping[str, frozenset[str]]:
        return {u.source: frozenset(f for f in FILES if u.source in includes.reach([f])) for u in units}

    monkeypatch.setattr(include, "real", real)
    monkeypatch.setattr(affected, "_SEARCHED", ("net", "arch"))
    monkeypatch.setenv("SUTURE_CACHE", str(tmp_path / "cache"))
    room = SimpleNamespace(layers=[tmp_path / "generated"])
    tree = SimpleNamespace(files=files, room=room, key="0" * 32, has=lambda p: (files / p).is_file())
    (tmp_path / "cache/object/kernel" / ("0" * 16)).mkdir(parents=True)
    return affected._KernelSearch(cast(KernelTree, tree), kernel, includes, new)


def readers(search: affected._KernelSearch, path: str, old: str = "", new: str = "", **more: Any) -> Readers:
    target = search.new / path
    target.parent.mkdir(parents=True, exist_ok=True)
    target.write_text(FILES.get(path, "").replace(old, new))
    return search.readers(FilePatch(path, "\n@@ -1 +1 @@\n", **more))


def test_a_c_file_is_read_by_those_that_include_it_and_outside_the_kernel_too(search: affected._KernelSearch) -> None:
    found = readers(search, "net/part.c", "1", "2")
    assert found.units == ("net/whole.c",) and found.outside == ("arch/x86/entry/vdso/time.o",)


def test_an_inline_is_used_through_another_of_the_same_header(search: affected._KernelSearch) -> None:
    assert readers(search, "net/own.h", "return LIMIT", "return LIMIT + 1").units == ("net/calls.c",)
    assert readers(search, "net/own.h", "LIMIT 8", "LIMIT 9").units == ("net/calls.c",)


def test_an_anonymous_enum_is_used_by_its_names(search: affected._KernelSearch) -> None:
    assert readers(search, "net/own.h", "ONE,", "ONE = 4,").units == ("net/counts.c",)


def test_a_callback_is_used_by_those_that_write_the_member(search: affected._KernelSearch) -> None:
    assert readers(search, "net/ops.h", "int a", "long a").units == ("net/gives.c", "net/takes.c")
    assert search.followed == {".dump"}


def test_a_changed_condition_is_everyones(search: affected._KernelSearch) -> None:
    found = readers(search, "net/own.h", "enum", "#ifdef X\nenum { NONE };\n#endif\n#ifndef Y\nenum")
    assert found.units == ("net/calls.c", "net/counts.c", "net/neither.c")


def test_a_comment_in_a_header_is_nobodys(search: affected._KernelSearch) -> None:
    found = readers(search, "net/own.h", "enum", "/* said */ enum")
    assert found.units == () and found.reason == "no unit writes what changes"


@pytest.mark.parametrize("path", ["MAINTAINERS", "arch/arm/only.c", "Documentation/a.rst", "tools/testing/x.c"])
def test_what_no_unit_reads_is_no_code_and_may_go(search: affected._KernelSearch, path: str) -> None:
    assert readers(search, path).units == () and readers(search, path).reason
    assert readers(search, path, deletes=True).reason


def test_what_the_kernel_has_and_loses_is_refused(search: affected._KernelSearch) -> None:
    for more in ({"deletes": True}, {"source": "net/part.c"}, {"is_binary": True}):
        with pytest.raises(Refused):
            readers(search, "net/part.c", **more)


def test_a_new_c_file_and_an_input_of_a_generator_are_refused_and_rules_are_asked(
    search: affected._KernelSearch,
) -> None:
    with pytest.raises(Refused, match="a new file"):
        readers(search, "net/fresh.c", creates=True)
    with pytest.raises(Refused, match="neither C source nor header"):
        readers(search, "net/table.in")
    assert readers(search, "net/Makefile").is_rule


@pytest.mark.parametrize("path", ["net/Makefile", "net/calls.c", "net/table.in", "net/own.h"])
def test_a_change_of_a_mode_changes_no_code(search: affected._KernelSearch, path: str) -> None:
    found = search.readers(FilePatch(path, f"--- a/{path}\n+++ b/{path}\n"))
    assert not found.units and not found.is_rule and "mode" in found.reason


def test_a_symbolic_link_is_refused(search: affected._KernelSearch) -> None:
    with pytest.raises(Refused, match="symbolic link"):
        search.readers(FilePatch("net/own.h", "\n@@ -1 +1 @@\n", is_link=True))
