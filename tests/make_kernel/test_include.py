"""Who may include a file, by the text of `#include` lines."""

from __future__ import annotations

from suture.make_kernel.include import Includes, _depends, graph

NAMES = {
    "kernel/build.c", "kernel/rt.c", "kernel/other.c", "fs/own.c", "fs/own.h", "net/own.h", "net/user.c",
    "include/linux/big.h",
    "include/linux/compiler_types.h", "fs/xfs/libxfs/deep.h", "fs/xfs/log.c", "arch/x86/include/asm/big.h", "fs/unit.c",
}  # fmt: skip
ROWS = [
    ("kernel/build.c", '#include "rt.c"'),
    ("fs/own.c", '#include "own.h"'),
    ("net/user.c", "# include <own.h>"),
    ("include/linux/big.h", "#include <asm/big.h>"),
    ("fs/unit.c", "#define HEADER <linux/big.h>"),
    ("fs/xfs/log.c", '#include "../xfs/libxfs/deep.h"'),
]


def users(*paths: str) -> set[str]:
    return Includes(graph(ROWS, NAMES)).reach(paths)


def test_a_c_file_is_reached_through_the_one_that_includes_it() -> None:
    assert users("kernel/rt.c") == {"kernel/rt.c", "kernel/build.c"}


def test_a_name_between_quotes_is_the_file_beside_it_and_another_may_be_any() -> None:
    assert users("fs/own.h") == {"fs/own.h", "fs/own.c", "net/user.c"}
    assert users("net/own.h") == {"net/own.h", "net/user.c"}


def test_a_header_reaches_through_headers_and_through_names_in_macros() -> None:
    assert "fs/unit.c" in users("arch/x86/include/asm/big.h")


def test_a_path_that_goes_up_is_the_path_that_it_leads_to() -> None:
    assert users("fs/xfs/libxfs/deep.h") == {"fs/xfs/libxfs/deep.h", "fs/xfs/log.c"}


def test_what_the_command_line_includes_is_included_by_every_unit() -> None:
    known = {"kernel/build.c", "fs/own.c"}
    assert Includes({}).units(["include/linux/compiler_types.h"], known) == known
    assert Includes({}).units(["kernel/build.c", "fs/own.h"], known) == {"kernel/build.c"}


def test_dependencies_of_the_compiler_are_read_over_lines_and_without_dots() -> None:
    assert _depends("a.o: fs/a.c \\\n ./include/linux/big.h fs/../fs/own.h\n") == {
        "fs/a.c", "include/linux/big.h", "fs/own.h",
    }  # fmt: skip
    assert _depends("") is None
