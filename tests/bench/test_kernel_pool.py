"""What a kernel change takes in from the rest of the difference when the compiler rejects it."""

from __future__ import annotations

import importlib
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from suture.make_kernel.include import Includes


@pytest.fixture(scope="module")
def module() -> Iterator[ModuleType]:
    folder = str(Path(__file__).resolve().parents[2] / "bench")
    sys.path.insert(0, folder)
    yield importlib.import_module("kernel_pool")
    sys.path.remove(folder)


def run(at: int, *changed: str, function: str = "", around: str = "") -> Any:
    """A run of lines that begin with their sign; each is a statement, or all stand with the line `around`."""
    folder = str(Path(__file__).resolve().parents[2] / "bench")
    sys.path.insert(0, folder)
    kind = importlib.import_module("kernel_run").Run
    sys.path.remove(folder)
    sides = (tuple(x[1:] for x in changed if x[0] == sign) for sign in "-+")
    return kind(
        at, at, *sides, "\n".join([*([f" {around}"] if around else []), *changed]), (function,) if function else ()
    )


DRAWN = run(40, "-\told();", "+\tif (LIMIT) fresh();", function="f")
CHANGES = {
    "net/a.c": [[DRAWN], [run(1, "+#include <net/limit.h>")], [run(90, "-\tx->order = 1;", "+\tx->sort = 1;")]],
    "net/b.c": [
        [run(7, "-\tuse(OLD_LIMIT);", "+\tuse(LIMIT);", function="g"), run(30, "+\tuse(LIMIT + 1);", function="h")],
        [run(60, "-static void h(void)", "+static bool h(void)", function="h")],
        [run(70, "-\treturn;", "+\treturn false;", function="h")],
        [run(80, "-\treturn;", "+\treturn true;", function="other")],
    ],
    "net/c.c": [[run(3, "+void fresh(void)", "+{")]],
    "net/d.c": [[run(3, "+\tint a,", around="void newer(int b,")]],
    "include/net/limit.h": [[run(5, "-#define OLD_LIMIT 8", "+#define LIMIT 8")]],
    "include/net/other.h": [
        [run(5, "-\tint order;", "+\tint sort;")],
        [run(9, "-\tstruct old *iovs;", "+\tstruct kvec *iovs;")],
    ],
}  # fmt: skip


def grown(module: ModuleType, parts: dict[str, list[Any]], *needs: tuple[Any, ...]) -> Any:
    includes = Includes({"include/net/limit.h": ["net/a.c", "net/b.c", "net/c.c"], "include/net/other.h": ["net/b.c"]})
    pool = module.Pool(CHANGES, Path("/nonexistent"), Path("/nonexistent"), includes)
    return pool.with_more(parts, [module.Need((n[0],) if n[0] else (), n[1], n[1], *n[2:]) for n in needs])


def test_included_files_come_first(module: ModuleType) -> None:
    found = grown(module, {"net/a.c": [DRAWN]}, ("LIMIT", "net/a.c"))
    assert found == {"net/a.c": [DRAWN, CHANGES["net/a.c"][1][0]]}
    assert grown(module, {"net/a.c": [DRAWN]}) is None, "nothing is missed"


def test_a_header_that_defines_the_name_though_it_takes_something_away(module: ModuleType) -> None:
    parts = {"net/a.c": [DRAWN, CHANGES["net/a.c"][1][0]]}
    found = grown(module, parts, ("LIMIT", "net/a.c", "f"), ("fresh", "net/a.c", "f"))
    assert found == {
        **parts,
        "include/net/limit.h": CHANGES["include/net/limit.h"][0],
        "net/c.c": CHANGES["net/c.c"][0],
    }


def test_a_head_of_a_function_whose_name_stands_on_another_line(module: ModuleType) -> None:
    parts = {"net/a.c": [DRAWN, CHANGES["net/a.c"][1][0]]}
    assert grown(module, parts, ("newer", "net/a.c", "f")) == {**parts, "net/d.c": CHANGES["net/d.c"][0]}


def test_a_header_that_the_rejected_file_does_not_include_is_not_the_one(module: ModuleType) -> None:
    other = {"include/net/other.h": CHANGES["include/net/other.h"][0]}
    assert grown(module, {"net/b.c": [run(50, "+\tx->sort;")]}, ("sort", "net/b.c")).keys() == {"net/b.c", *other}
    assert grown(module, {"net/c.c": [run(50, "+\tx->sort;")]}, ("sort", "net/c.c")).keys() != {"net/c.c", *other}


def test_a_name_that_goes_is_taken_from_each_file_that_is_rejected(module: ModuleType) -> None:
    parts = {"net/a.c": [DRAWN, CHANGES["net/a.c"][1][0]], "include/net/limit.h": CHANGES["include/net/limit.h"][0]}
    assert grown(module, parts, ("OLD_LIMIT", "net/b.c"))["net/b.c"] == CHANGES["net/b.c"][0]
    assert grown(module, parts, ("unheard_of", "net/b.c")) is None


def test_of_the_function_that_is_rejected_no_more_than_names_it(module: ModuleType) -> None:
    parts = {"include/net/limit.h": CHANGES["include/net/limit.h"][0]}
    found = grown(module, parts, ("OLD_LIMIT", "net/b.c", "g", True))
    assert found["net/b.c"] == CHANGES["net/b.c"][0][:1]
    parts = {"net/b.c": CHANGES["net/b.c"][1]}
    assert grown(module, parts, ("return", "net/b.c", "h", True))["net/b.c"] == [
        *parts["net/b.c"],
        *CHANGES["net/b.c"][2],
    ]
    assert grown(module, parts, ("return", "net/b.c")) is None, "a word of the language leads nowhere else"


def test_a_member_beside_what_is_rejected_counts_when_nothing_else_does(module: ModuleType) -> None:
    parts = {"net/b.c": [run(50, "+\tx->iovs[0].iov_base;", function="f")]}
    found = grown(module, parts, ("iov_base", "net/b.c", "f", False, ("iovs",)))
    assert found == {**parts, "include/net/other.h": CHANGES["include/net/other.h"][1]}
    found = grown(module, parts, ("sort", "net/b.c", "f", False, ("iovs",)))
    assert found == {**parts, "include/net/other.h": CHANGES["include/net/other.h"][0]}


def test_what_defines_a_name_comes_before_what_else_the_function_changes(module: ModuleType) -> None:
    parts = {"net/a.c": [DRAWN, CHANGES["net/a.c"][1][0]]}
    for is_local, path in ((False, "include/net/limit.h"), (True, "net/b.c")):
        found = grown(module, parts, ("LIMIT", "net/b.c", "h", is_local))
        assert [p for p in found if found[p] != parts.get(p)] == [path]


def test_each_name_of_a_complaint_is_looked_for_in_one_place_before_the_next(module: ModuleType) -> None:
    own = {"net/e.c": [[run(9, "+\t.check = fresh,")]], "net/c.c": CHANGES["net/c.c"]}
    pool = module.Pool(own, Path("/nonexistent"), Path("/nonexistent"), Includes({}))
    parts = {"net/a.c": [DRAWN]}
    found = pool.with_more(parts, [module.Need(("check", "fresh"), "net/e.c", "net/e.c")])
    assert found == {**parts, "net/c.c": CHANGES["net/c.c"][0]}


def test_too_much_for_one_name_and_too_much_in_all(module: ModuleType, monkeypatch: pytest.MonkeyPatch) -> None:
    parts = {"net/c.c": [run(50, "+\tLIMIT;")]}
    monkeypatch.setattr(module, "MOST_FOR_A_NAME", 0)
    assert grown(module, parts, ("LIMIT", "net/c.c")) is None
    monkeypatch.undo()
    assert grown(module, parts, ("LIMIT", "net/c.c")) is not None
    monkeypatch.setattr(module, "MOST", 1)
    assert grown(module, parts, ("LIMIT", "net/c.c")) is None


def test_a_header_that_is_new_is_taken_whole(module: ModuleType, tmp_path: Path) -> None:
    (tmp_path / "include/net").mkdir(parents=True)
    (tmp_path / "include/net/fresh.h").write_text("int a;\nint b;\n")
    pool = module.Pool({"net/a.c": [[DRAWN]]}, tmp_path / "older", tmp_path, Includes({}))
    log = "In file included from net/a.c:1:\nnet/a.c:1:10: fatal error: net/fresh.h: No such file or directory\n"
    parts = pool.with_more({"net/a.c": [DRAWN]}, module.needs({"net/a.c": log}))
    assert parts.keys() == {"net/a.c", "include/net/fresh.h"}
    del parts["net/a.c"]
    assert pool.text(parts) == "--- /dev/null\n+++ b/include/net/fresh.h\n@@ -0,0 +1,2 @@\n+int a;\n+int b;\n"


@pytest.mark.parametrize(
    "line",
    [
        "#define LIMIT 8",
        "\tLIMIT,",
        "struct LIMIT {",
        "\tint\t\t(*LIMIT)(struct a *,",
        "\tu8 LIMIT[8];",
        "int LIMIT(void);",
    ],
)
def test_what_defines_a_name(module: ModuleType, line: str) -> None:
    assert module._definition("LIMIT").search(f"-gone\n+{line}")
    assert not module._definition("LIMIT").search(f"-{line}\n+\tuse(LIMIT);")


@pytest.mark.parametrize(
    ("said", "names"),
    [
        ("[NVME_NEW] undeclared (first use in this function); did you mean [NVME_OLD]?", ["NVME_NEW"]),
        ("[struct tcf_proto] has no member named [usesw]", ["usesw"]),
        ("invalid use of undefined type [struct nfs_net]", ["nfs_net"]),
        ("too few arguments to function [lookup]", ["lookup"]),
        ("too many arguments to function [expr->ops->validate]", ["validate"]),
        (
            "initialization of [int (*)(int)] from incompatible pointer type [int (*)(void)]",
            ["validate", "nft_validate"],
        ),
        ("[return] with no value, in function returning non-void", ["return"]),
        ("control reaches end of non-void function", ["return"]),
    ],
)  # fmt: skip
def test_what_the_compiler_misses(module: ModuleType, said: str, names: list[str]) -> None:
    said = said.replace("[", "\u2018").replace("]", "\u2019")
    log = (
        "net/x.c: In function \u2018f\u2019:\n"
        f"./net/x.h:3:9: error: {said}\n"
        "    3 |         .validate = nft_validate,\n"
        "      |         ^~~\n"
    )
    (found,) = module.needs({"net/x.c": log})
    local = "undeclared" in said or "return" in names
    beside = () if "validate" in names else ("validate",)
    assert found == module.Need(tuple(names), "net/x.c", "net/x.h", "f", local, beside)


def test_a_member_that_is_initialized_is_a_name_of_its_complaint(module: ModuleType) -> None:
    log = (
        "net/x.c:3:9: error: incompatible \u2018fresh\u2019\n"
        "net/x.c:3:9: note: (near initialization for \u2018ops.check\u2019)\n"
    )
    assert [n.names for n in module.needs({"net/x.c": log})] == [("fresh", "check")]


def test_outside_of_functions_no_function_is_rejected(module: ModuleType) -> None:
    log = (
        "net/x.c: In function \u2018f\u2019:\n"
        "net/x.c:2:1: error: \u2018two\u2019 undeclared\n"
        "net/x.c: At top level:\n"
        "net/x.c:3:9: error: \u2018three\u2019\n"
    )
    assert [n.function for n in module.needs({"net/x.c": log})] == ["f", ""]


def test_a_word_of_the_language_is_missed_by_nobody(module: ModuleType) -> None:
    log = "net/x.c:3:9: error: incompatible types\n    3 |     const struct mine *a = (unsigned long)theirs;\n"
    assert [n.names for n in module.needs({"net/x.c": log})] == [("mine", "theirs")]


def test_behind_code_that_cannot_be_read_nothing_counts(module: ModuleType) -> None:
    log = (
        "net/x.c: In function \u2018f\u2019:\n"
        "net/x.c:2:1: error: expected declaration or statement at end of input\n"
        "net/x.c:3:9: error: \u2018three\u2019\n"
    )
    assert module.needs({"net/x.c": log}) == [module.Need((), "net/x.c", "net/x.c", "f", True)]
    parts = {"net/b.c": CHANGES["net/b.c"][1]}
    found = grown(module, parts, ("", "net/b.c", "h", True))
    assert found["net/b.c"] == [*CHANGES["net/b.c"][1], CHANGES["net/b.c"][0][1], *CHANGES["net/b.c"][2]]
