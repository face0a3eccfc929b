"""Recording a make: stand-ins write commands down and touch outputs, or pass on."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest

from suture.compile import record, stand_in
from suture.compile.record import Recording

MAKEFILE = """
all: prog
gen.h:
\tprintf '#define N 3\\n' | gcc -E -P - >/dev/null && echo '#define N 3' >gen.h
objs/a.o: a.c gen.h
\tmkdir -p objs; gcc -DQ='"a b"' -I. -MMD -MF objs/a.d -c -o objs/a.o a.c
a.lo: objs/a.o
\tmv objs/a.o a.lo
b.o: sub/b.c
\tcd sub && gcc -O1 -c b.c -o ../b.o
lib.a: b.o
\tar rcs lib.a b.o
prog: a.lo lib.a
\tgcc -o prog a.lo lib.a -lm
\tif ./prog; then exit 1; fi
"""


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    root = tmp_path / "tree"
    (root / "sub").mkdir(parents=True)
    (root / "Makefile").write_text(MAKEFILE)
    (root / "a.c").write_text('#include "gen.h"\nint b(void);\nint main(void) { return b() + N; }\n')
    (root / "sub/b.c").write_text("int b(void) { return 1; }\n")
    return root


def recorded(root: Path, mode: str) -> Recording:
    tools, log = root.parent / "tools", root.parent / "log"
    for folder in (tools, log):
        folder.mkdir()
    stand_in.install(tools)
    path = "/usr/bin:/bin"
    env = {"PATH": f"{tools}:{path}", **stand_in.environment(str(log), mode, path)}
    subprocess.run(["make", "-j2", "all"], cwd=root, env=env, check=True, capture_output=True)
    return record.read(log, str(root), root)


def test_units_have_their_directory_and_exact_arguments(tree: Path) -> None:
    units = {u.source: u for u in recorded(tree, stand_in.STUB).units}
    assert set(units) == {"a.c", "sub/b.c"}
    assert units["a.c"].argv[1] == '-DQ="a b"'
    assert units["sub/b.c"].directory == str(tree / "sub")
    assert units["sub/b.c"].object == "b.o"


def test_objects_are_followed_through_archives_and_renames_into_what_is_linked(tree: Path) -> None:
    assert recorded(tree, stand_in.STUB).objects_of_pattern("pro*") == {"objs/a.o", "b.o"}


def test_stubs_compile_nothing_but_generate_headers_and_are_cleaned_away(tree: Path) -> None:
    recording = recorded(tree, stand_in.STUB)
    assert (tree / "b.o").read_bytes().startswith(b"suture-object ")
    assert (tree / "gen.h").exists()
    record.clean(recording, tree)
    assert not [p for p in tree.rglob("*") if p.suffix in {".o", ".lo", ".a"} or p.name == "prog"]
    assert (tree / "gen.h").exists() and (tree / "a.c").exists()


def test_passing_on_builds_for_real_and_records_the_same(tree: Path) -> None:
    recording = recorded(tree, stand_in.PASS)
    assert (tree / "b.o").read_bytes()[:4] == b"\x7fELF"
    assert {u.source for u in recording.units} == {"a.c", "sub/b.c"}
    assert subprocess.run([tree / "prog"], check=False).returncode == 4


def test_a_library_that_is_loaded_is_taken_before_an_archive_of_the_same_name(tree: Path) -> None:
    """As ld(1) does with -l; what the build made is called libb.so.1.2, and libb.so leads to it."""
    shared = "gcc -shared -o libb.so.1.2 b.o; ln -sf libb.so.1.2 libb.so; ar rcs libb.a b.o"
    text = MAKEFILE.replace("\tar rcs lib.a b.o", f"\tar rcs lib.a b.o; {shared}")
    (tree / "Makefile").write_text(text.replace("a.lo lib.a -lm", "a.lo -L. -lb"))
    recording = recorded(tree, stand_in.STUB)
    assert recording.objects_of("libb.so.1.2") == {"b.o"} == recording.objects_of("libb.a")
    assert recording.objects_of("prog") == {"objs/a.o"}


GENERATES = """
all: prog
gen.o: gen.c
\tgcc -c -DTEXT='"it'"'"'s"' -o gen.o gen.c
part.o: part.c
\tgcc -c part.c
libpart.a: part.o
\tar rc libpart.a part.o
libload.so.1: load.c
\tgcc -shared -fPIC -Wl,-soname,libload.so.1 -o libload.so.1 load.c
libload.so: libload.so.1
\tln -sf libload.so.1 libload.so
gen: gen.o libpart.a libload.so
\tgcc -o gen gen.o -L. -lpart -lload
made.h: gen
\t./gen 41 >made.h
prog.o: prog.c made.h
\tgcc -c prog.c
prog: prog.o
\tgcc -o prog prog.o
"""


def test_a_program_that_the_build_makes_and_runs_is_made_for_real_when_it_is_run(tmp_path: Path) -> None:
    root = tmp_path / "a tree"
    root.mkdir()
    files = {
        "Makefile": GENERATES,
        "gen.c": "#include <stdio.h>\n#include <stdlib.h>\nint part(int); int loaded(int);\n"
        'int main(int n, char **v) { printf("// %s\\n#define MADE %d\\n'
        '", TEXT, loaded(part(atoi(v[1])))); return 0; }\n',
        "part.c": "int part(int a) { return a + 1; }\n",
        "load.c": "int loaded(int a) { return a * 2; }\n",
        "prog.c": '#include "made.h"\nint main(void) { return MADE; }\n',
    }
    for name, text in files.items():
        (root / name).write_text(text)
    tools, log, path = tmp_path / "tools", tmp_path / "log", "/usr/bin:/bin"
    for folder in (tools, log):
        folder.mkdir()
    stand_in.install(tools)
    stand_in.keep_going(tools)
    env = {"PATH": f"{tools}:{path}", **stand_in.environment(str(log), stand_in.STUB, path, str(tools))}
    subprocess.run(["make", "all"], cwd=root, env=env, check=True, capture_output=True)
    assert (root / "made.h").read_text() == "// it's\n#define MADE 84\n"
    recording = record.read(log, str(root), root)
    assert recording.objects_of("prog") == {"prog.o"}
    assert recording.objects_of("gen") == {"gen.o", "part.o"}
    record.clean(recording, root)
    assert not {"prog", "gen", "prog.o", "gen.o", "libpart.a", "libload.so.1"} & {p.name for p in root.iterdir()}


SHARED = """
all:
\tgcc -c part.c
\tgcc -c one.c
\tgcc -c two.c
\tgcc -o one one.o part.o
\tgcc -o two two.o part.o
\t./one >made
\t./two >>made
\techo 'int part(void) { return 8; }' >part.c
\tsleep 0.05
\tgcc -c part.c
\tgcc -o three one.o part.o
\t./three >>made
"""


def test_an_object_of_several_such_programs_is_compiled_once_until_the_build_compiles_it_again(tmp_path: Path) -> None:
    root, tools, log, real = (tmp_path / x for x in ("tree", "tools", "log", "real"))
    for folder in (root, tools, log, real):
        folder.mkdir()
    main = '#include <stdio.h>\nint part(void); int main(void) { printf("%d\\n", part()); return 0; }\n'
    for name, text in {
        "Makefile": SHARED,
        "part.c": "int part(void) { return 7; }\n",
        "one.c": main,
        "two.c": main,
    }.items():
        (root / name).write_text(text)
    (real / "gcc").write_text(f'#!/bin/sh\necho "$@" >>{tmp_path}/calls\nexec /usr/bin/gcc "$@"\n')
    (real / "gcc").chmod(0o755)
    stand_in.install(tools)
    stand_in.keep_going(tools)
    path = f"{real}:/usr/bin:/bin"
    env = {"PATH": f"{tools}:{path}", **stand_in.environment(str(log), stand_in.STUB, path, str(tools))}
    subprocess.run(["make", "all"], cwd=root, env=env, check=True, capture_output=True)
    assert (root / "made").read_text() == "7\n7\n8\n"
    compiled = [line for line in (tmp_path / "calls").read_text().splitlines() if "part.c" in line]
    assert len(compiled) == 2


def test_links_to_a_place_in_the_room_lead_there_from_the_host_and_others_stay(tmp_path: Path) -> None:
    """As dnsmasq's rules link each source into the folder that they build in."""
    files, folder = tmp_path / "files", tmp_path / "files/debian/build"
    folder.mkdir(parents=True)
    (files / "src").mkdir()
    (files / "src/a.c").write_text("int a;")
    targets = {
        "a.c": "/build/x-1/src/a.c",
        "src": "/build/x-1/src",
        "away": "/etc/passwd",
        "out": "/build/x-1/../../etc/passwd",
        "near": "../../src/a.c",
    }
    for name, target in targets.items():
        (folder / name).symlink_to(target)
    record.relink(files, "/build/x-1")
    found = {name: os.readlink(folder / name) for name in targets}
    assert found == targets | {"a.c": "../../src/a.c", "src": "../../src"}
    assert (folder / "a.c").read_text() == "int a;"
