"""Links as CMake's makefiles and ninja files tell them."""

from __future__ import annotations

from pathlib import Path

from suture.compile.linked import Link, links_in

NINJA = """\
build lib/libx.so.1: C_SHARED_LIBRARY_LINKER__x_Release a.c.o $
    sub/b.c.o | other.so || phony
  LINK_FLAGS = -O2
build my$ program: c_LINKER main.c.o lib/with$:colon.a
build a.c.o: C_COMPILER a.c
build all: phony my$ program
"""


def test_statements_of_ninja_go_on_over_lines_and_have_escapes(tmp_path: Path) -> None:
    (tmp_path / "build.ninja").write_text(NINJA)
    place = str(tmp_path)
    assert list(links_in(tmp_path)) == [
        Link(place, "lib/libx.so.1", ("a.c.o", "sub/b.c.o", "other.so", "phony")),
        Link(place, "my program", ("main.c.o", "lib/with:colon.a")),
    ]
    assert [x.is_shared for x in links_in(tmp_path)] == [True, False]


def test_link_texts_of_makefiles_with_archives_and_response_files(tmp_path: Path) -> None:
    made = tmp_path / "sub/CMakeFiles/x.dir"
    made.mkdir(parents=True)
    (made / "link.txt").write_text("/usr/bin/ar qc libx.a CMakeFiles/x.dir/a.c.o\n/usr/bin/ranlib libx.a\n")
    other = tmp_path / "CMakeFiles/y.dir"
    other.mkdir(parents=True)
    (other / "link.txt").write_text("/usr/bin/cc -O2 @objects.rsp 'a b.c.o' -o y -lm\n")
    (tmp_path / "objects.rsp").write_text("one.c.o two.c.o\n")
    found = {x.output: x for x in links_in(tmp_path)}
    assert found["libx.a"] == Link(str(tmp_path / "sub"), "libx.a", ("CMakeFiles/x.dir/a.c.o",))
    assert found["y"] == Link(str(tmp_path), "y", ("one.c.o", "two.c.o", "a b.c.o"))


def test_a_folder_of_another_build_system_tells_of_no_links(tmp_path: Path) -> None:
    (tmp_path / "Makefile").write_text("all:\n")
    assert list(links_in(tmp_path)) == []
