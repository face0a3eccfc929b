"""Calls of compilers as builds make them."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from suture.compile.call import Call, words_of


def call(line: str, **responses: str) -> Call:
    return Call.of(line.split(), responses)


def test_inputs_are_what_no_option_takes_for_its_value() -> None:
    one = call("-include pre.c a.c -o b.c c.o -lm -L d -Wl,--whole-archive,libw.a,--no-whole-archive -Xlinker x.o")
    assert [x.path for x in one.inputs] == ["a.c", "c.o", "libw.a"]
    assert [x.path for x in one.sources] == ["a.c"] and one.output == "b.c"


def test_a_language_that_is_spoken_out_holds_until_it_is_taken_back() -> None:
    one = call("-x c++ table.inc - -x none b.o c.c -xassembler-with-cpp d.txt")
    assert [(x.path, x.language) for x in one.sources] == [
        ("table.inc", "c++"), ("-", "c++"), ("c.c", "c"), ("d.txt", "asm"),
    ]  # fmt: skip


def test_each_source_has_its_own_command_and_object() -> None:
    one = call("-O2 -c a.c -DX sub/b.c")
    assert [one.object_of(x) for x in one.sources] == ["a.o", "b.o"]
    assert [" ".join(one.command_of(x)) for x in one.sources] == ["-O2 -c a.c -DX", "-O2 -c -DX sub/b.c"]
    two = call("-O2 -o bin/prog a.c b.o -lz -Wl,-z,now")
    (source,) = two.sources
    assert two.object_of(source) == "bin/prog-a.o"
    assert " ".join(two.command_of(source)) == "-O2 -o bin/prog a.c -lz -Wl,-z,now"


def test_libraries_are_looked_for_as_the_linker_does() -> None:
    assert call("-L a -lx -Lb -l:liby.a").libraries == (
        ("a/libx.so", "a/libx.a", "b/libx.so", "b/libx.a"),
        ("a/liby.a", "a/liby.a", "b/liby.a", "b/liby.a"),
    )
    assert call("-static -La -lx").libraries == (("a/libx.a",),)


def test_a_response_file_may_name_another_and_one_that_is_gone_stays_a_word() -> None:
    one = call("-c @one -o x.o", one="a.c @two", two="-DN=1")
    assert one.arguments == ("-c", "a.c", "-DN=1", "-o", "x.o")
    assert call("@gone").arguments == ("@gone",)
    assert len(call("@one", one="@one").arguments) == 1


@pytest.mark.parametrize(
    "text",
    ["-DX=ab", "'-DX=a b'", '-DX="a b"', "-DX=a\\ b", '-DX=\\"ab\\"', "-DX='\"a b\"'", "'-DX=a\\'b c\\'d'",
    '"-DX=a\\\\b"', "-D'X=a'b"],
)  # fmt: skip
def test_words_are_those_that_gcc_reads(text: str, tmp_path: Path) -> None:
    (tmp_path / "response").write_text(f"-P\n {text}\t-w\n")
    command = ["gcc", "-E", f"@{tmp_path}/response", "-x", "c", "-"]
    done = subprocess.run(command, input="X\n", capture_output=True, text=True, check=True)
    first, word, last = words_of(f"-P\n {text}\t-w\n")
    assert (first, last) == ("-P", "-w")
    assert word.removeprefix("-DX=") == done.stdout.strip()
