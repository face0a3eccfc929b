"""The include graph finds a superset of what the compiler would."""

from __future__ import annotations

import posixpath
from pathlib import Path

from suture.compile.depend import Dependencies, names
from suture.compile.unit import Unit


def unit(source: str) -> Unit:
    return Unit(source, source + ".o", "/build/x", ("gcc", source), "c")


def graph(folder: Path, files: dict[str, str]) -> Dependencies:
    tree = folder / "tree"
    for name, text in files.items():
        (tree / name).parent.mkdir(parents=True, exist_ok=True)
        (tree / name).write_text(text)
    return Dependencies(folder, tree, tuple(unit(n) for n in files if posixpath.splitext(n)[1] == ".c"))


def found(dependencies: Dependencies, path: str) -> set[str]:
    return {u.source for u in dependencies.candidates(path)}


def test_units_are_reached_through_headers_and_included_sources(tmp_path: Path) -> None:
    files = {
        "a.c": '#include "sub/m.h"\n',
        "sub/m.h": "# include <n.h>\n",
        "inc/n.h": "",
        "b.c": "",
        "c.c": '#include "b.c"\n',
    }
    dependencies = graph(tmp_path, files)
    assert found(dependencies, "inc/n.h") == {"a.c"}
    assert found(dependencies, "b.c") == {"b.c", "c.c"}


def test_a_file_that_includes_another_of_its_own_name_depends_on_it(tmp_path: Path) -> None:
    files = {"posix/glob.c": "", "sysdeps/glob.c": "#include <posix/glob.c>\n"}
    assert "sysdeps/glob.c" in found(graph(tmp_path, files), "posix/glob.c")


def test_an_include_through_a_macro_may_mean_any_file(tmp_path: Path) -> None:
    files = {"a.c": "#include WHAT\n", "x.h": "#define WHAT OTHER\n", "b.c": ""}
    assert found(graph(tmp_path, files), "x.h") == {"a.c"}


def test_a_macro_given_to_the_compiler_may_mean_any_file(tmp_path: Path) -> None:
    plain = graph(tmp_path, {"a.c": "# include WHAT /* which? */\n", "x.h": "", "b.c": ""})
    units = tuple(Unit(u.source, u.object, u.directory, ("gcc", "-DWHAT=<x.h>", u.source), "c") for u in plain.units)
    assert found(Dependencies(tmp_path, plain.files, units), "x.h") == {"a.c"}


def test_a_macro_that_is_a_file_name_means_that_file(tmp_path: Path) -> None:
    files = {"a.c": "#include WHAT\n", "x.h": '#define WHAT "sub/y.h"\n', "sub/y.h": "", "b.c": ""}
    dependencies = graph(tmp_path, files)
    assert found(dependencies, "sub/y.h") == {"a.c"} and found(dependencies, "b.c") == {"b.c"}


def test_a_macro_of_the_system_means_no_file_of_the_tree(tmp_path: Path) -> None:
    files = {"a.c": "#include FT_FREETYPE_H\n", "t.inc": "# include file for tests\n", "x.h": "", "b.c": ""}
    assert found(graph(tmp_path, files), "x.h") == set()


def test_include_next_is_no_include_through_a_macro(tmp_path: Path) -> None:
    files = {"limits.h": "#include_next <limits.h>\n# include_next<x.h>\n", "a.c": "#include <limits.h>\n", "b.c": ""}
    assert found(graph(tmp_path, files), "b.c") == {"b.c"}


def test_a_make_rule_is_read_relative_to_the_units_directory() -> None:
    rule = "a.o: a.c ../x/inc/n.h \\\n /usr/include/stdio.h dir\\ with/space.h\n"
    assert names(rule, unit("a.c"), "/build/x", "inc/n.h")
    assert names(rule, unit("a.c"), "/build/x", "dir with/space.h")
    assert not names(rule, unit("a.c"), "/build/x", "n.h")
