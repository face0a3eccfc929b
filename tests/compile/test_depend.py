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


def test_files_are_read_whatever_they_are_called_and_however_an_include_is_written(tmp_path: Path) -> None:
    files = {
        "a.c": '#/* x */include /**/ "part.txt"\n',
        "part.txt": "%:include <deep>\n",
        "deep": '#incl\\\nude "x.h"\n',
        "b.c": '#if __has_include("x.h")\n#endif\n',
        "c.c": "",
        "x.h": "",
    }
    assert found(graph(tmp_path, files), "x.h") == {"a.c", "b.c"}


def test_what_a_command_includes_first_is_a_dependency_and_a_response_file_may_be_one(tmp_path: Path) -> None:
    plain = graph(tmp_path, {"a.c": "", "b.c": "", "c.c": "", "d.c": "", "config.h": '#include "x.h"\n', "x.h": ""})
    more = {"a.c": ("-include", "config.h"), "b.c": ("-imacrosconfig.h",), "c.c": ("@flags",), "d.c": ("-DX",)}
    units = tuple(Unit(u.source, u.object, u.directory, ("gcc", *more[u.source], u.source), "c") for u in plain.units)
    assert found(Dependencies(tmp_path, plain.files, units), "x.h") == {"a.c", "b.c", "c.c"}


def test_bytes_that_assembly_takes_in_are_known(tmp_path: Path) -> None:
    files = {"a.c": r'__asm__(".incbin \"../data/blob.bin\"");', "b.S": '.incbin "other.dat"\n', "c.c": "blob.txt"}
    dependencies = graph(tmp_path, files)
    assert dependencies.taken_in("data/blob.bin") and dependencies.taken_in("other.dat")
    assert not dependencies.taken_in("blob.txt")


def test_a_fix_that_includes_a_file_makes_a_dependency(tmp_path: Path) -> None:
    files = {"a.c": "#include WHAT\n", "b.c": "", "c.c": "", "x.h": "", "w.h": '#define WHAT "y.h"\n', "y.h": ""}
    plain, over = graph(tmp_path, files), tmp_path / "over"
    over.mkdir()
    (over / "b.c").write_text('#include "x.h"\n')
    (over / "w.h").write_text("#define WHAT SOMETHING\n")
    assert found(plain, "x.h") == set()
    assert found(Dependencies(tmp_path, plain.files, plain.units, (over,)), "x.h") == {"a.c", "b.c"}


def test_a_file_has_the_names_of_the_links_that_lead_to_it(tmp_path: Path) -> None:
    dependencies = graph(tmp_path, {"src/deep/x.h": "", "a.c": ""})
    (dependencies.files / "include").symlink_to("src/deep")
    (dependencies.files / "y.h").symlink_to("include/x.h")
    (dependencies.files / "src/deep/up").symlink_to("..")
    (dependencies.files / "gone.h").symlink_to("nowhere/x.h")
    assert {"src/deep/x.h", "include/x.h", "y.h"} <= dependencies.names_of("src/deep/x.h")
    assert dependencies.names_of("a.c") == {"a.c"}


def test_a_make_rule_is_read_relative_to_the_units_directory() -> None:
    rule = "a.o: a.c ../x/inc/n.h \\\n /usr/include/stdio.h dir\\ with/space.h odd$$\\#.h\n"
    assert names(rule, unit("a.c"), "/build/x", {"inc/n.h"})
    assert names(rule, unit("a.c"), "/build/x", {"dir with/space.h"})
    assert names(rule, unit("a.c"), "/build/x", {"odd$#.h"})
    assert not names(rule, unit("a.c"), "/build/x", {"n.h"})
