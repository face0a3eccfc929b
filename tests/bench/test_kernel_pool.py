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


def hunk(line: int, *changed: str) -> str:
    return "\n".join([f"@@ -{line},3 +{line},3 @@", *changed, ""])


DRAWN = hunk(40, "-\told();", "+\tif (LIMIT) fresh();")
CHANGES = {
    "net/a.c": [[DRAWN], [hunk(1, "+#include <net/limit.h>")], [hunk(90, "-\tx->order = 1;", "+\tx->sort = 1;")]],
    "net/b.c": [[hunk(7, "-\tuse(OLD_LIMIT);", "+\tuse(LIMIT);"), hunk(30, "+\tuse(LIMIT + 1);")]],
    "net/c.c": [[hunk(3, "+void fresh(void)", "+{")]],
    "include/net/limit.h": [[hunk(5, "-#define OLD_LIMIT 8", "+#define LIMIT 8")]],
    "include/net/other.h": [[hunk(5, "-\tint order;", "+\tint sort;")]],
}


def grown(module: ModuleType, parts: dict[str, list[str]], *needs: tuple[str, str]) -> Any:
    includes = Includes({"include/net/limit.h": ["net/a.c", "net/b.c", "net/c.c"], "include/net/other.h": ["net/b.c"]})
    pool = module.Pool({p: f"--- a/{p}\n+++ b/{p}\n" for p in CHANGES}, CHANGES, Path("/nonexistent"), includes)
    return pool.with_more(parts, [module.Need(*n) for n in needs])


def test_included_files_come_first(module: ModuleType) -> None:
    found = grown(module, {"net/a.c": [DRAWN]}, ("LIMIT", "net/a.c"))
    assert found == {"net/a.c": [DRAWN, CHANGES["net/a.c"][1][0]]}
    assert grown(module, {"net/a.c": [DRAWN]}) is None, "nothing is missed"


def test_a_header_that_defines_the_name_though_it_takes_something_away(module: ModuleType) -> None:
    parts = {"net/a.c": [DRAWN, CHANGES["net/a.c"][1][0]]}
    found = grown(module, parts, ("LIMIT", "net/a.c"), ("fresh", "net/a.c"))
    assert found == {
        **parts,
        "include/net/limit.h": CHANGES["include/net/limit.h"][0],
        "net/c.c": CHANGES["net/c.c"][0],
    }


def test_a_header_that_the_rejected_file_does_not_include_is_not_the_one(module: ModuleType) -> None:
    other = {"include/net/other.h": CHANGES["include/net/other.h"][0]}
    assert grown(module, {"net/b.c": [hunk(50, "+\tx->sort;")]}, ("sort", "net/b.c")).keys() == {"net/b.c", *other}
    assert grown(module, {"net/c.c": [hunk(50, "+\tx->sort;")]}, ("sort", "net/c.c")).keys() != {"net/c.c", *other}


def test_a_name_that_goes_is_taken_from_each_file_that_is_rejected(module: ModuleType) -> None:
    parts = {"net/a.c": [DRAWN, CHANGES["net/a.c"][1][0]], "include/net/limit.h": CHANGES["include/net/limit.h"][0]}
    assert grown(module, parts, ("OLD_LIMIT", "net/b.c"))["net/b.c"] == CHANGES["net/b.c"][0]
    assert grown(module, parts, ("unheard_of", "net/b.c")) is None


def test_too_much_for_one_name_and_too_much_in_all(module: ModuleType, monkeypatch: pytest.MonkeyPatch) -> None:
    parts = {"net/c.c": [hunk(50, "+\tLIMIT;")]}
    monkeypatch.setattr(module, "MOST_FOR_A_NAME", 0)
    assert grown(module, parts, ("LIMIT", "net/c.c")) is None
    monkeypatch.undo()
    assert grown(module, parts, ("LIMIT", "net/c.c")) is not None
    monkeypatch.setattr(module, "MOST", 1)
    assert grown(module, parts, ("LIMIT", "net/c.c")) is None


def test_a_header_that_is_new_is_taken_whole(module: ModuleType, tmp_path: Path) -> None:
    (tmp_path / "include/net").mkdir(parents=True)
    (tmp_path / "include/net/fresh.h").write_text("int a;\nint b;\n")
    pool = module.Pool({}, {"net/a.c": [[DRAWN]]}, tmp_path, Includes({}))
    log = "In file included from net/a.c:1:\nnet/a.c:1:10: fatal error: net/fresh.h: No such file or directory\n"
    parts = pool.with_more({"net/a.c": [DRAWN]}, module.needs({"net/a.c": log}))
    whole = "@@ -0,0 +1,2 @@\n+int a;\n+int b;\n"
    assert parts == {"net/a.c": [DRAWN], "include/net/fresh.h": [whole]}
    assert pool.text(parts, "HEAD\n") == f"--- /dev/null\n+++ b/include/net/fresh.h\n{whole}HEAD\n{DRAWN}"


def test_a_declaration_is_changed_by_each_of_its_lines(module: ModuleType) -> None:
    text = hunk(
        9,
        " \tint (*other)(void);",
        " \tint (*validate)(struct a *,",
        "-\t\tstruct b **b);",
        "+\t\tvoid);",
        " \tint more;",
    )
    assert "validate" in module.statements(text) and "other" not in module.statements(text)
    assert "more" not in module.statements(text) and module._definition("validate").search(module.statements(text))


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
    assert module._definition("LIMIT").search(hunk(1, "-gone", f"+{line}"))
    assert not module._definition("LIMIT").search(hunk(1, f"-{line}", "+\tuse(LIMIT);"))


@pytest.mark.parametrize(
    ("said", "names"),
    [
        ("[NVME_NEW] undeclared (first use in this function); did you mean [NVME_OLD]?", ["NVME_NEW"]),
        ("[struct tcf_proto] has no member named [usesw]", ["usesw"]),
        ("invalid use of undefined type [struct nfs_net]", ["nfs_net"]),
        ("too few arguments to function [lookup]", ["lookup"]),
        ("too many arguments to function [expr->ops->validate]", ["validate"]),
        ("initialization of [int (*)(int)] from incompatible pointer type [int (*)(void)]",
        ["validate", "nft_validate"]),
    ],
)  # fmt: skip
def test_what_the_compiler_misses(module: ModuleType, said: str, names: list[str]) -> None:
    said = said.replace("[", "\u2018").replace("]", "\u2019")
    log = (
        f"net/x.c: In function [f]:\nnet/x.c:3:9: error: {said}\n    3 |         .validate = nft_validate,\n"
        "      |         ^~~\n"
    )
    assert module.needs({"net/x.c": log}) == [module.Need(n, "net/x.c") for n in names]


def test_a_word_of_the_language_is_missed_by_nobody(module: ModuleType) -> None:
    log = "net/x.c:3:9: error: incompatible types\n    3 |     const struct mine *a = (unsigned long)theirs;\n"
    assert [n.name for n in module.needs({"net/x.c": log})] == ["mine", "theirs"]


def test_the_hunks_of_a_file_stand_in_its_order(module: ModuleType) -> None:
    pool = module.Pool({"b.h": "--- a/b.h\n+++ b/b.h\n"}, {}, Path("/nonexistent"), Includes({}))
    text = pool.text({"b.h": [hunk(20, "+x"), hunk(3, "+y")], "a.c": [hunk(1, "+z")]}, "HEAD\n")
    assert text == "HEAD\n" + hunk(1, "+z") + "--- a/b.h\n+++ b/b.h\n" + hunk(3, "+y") + hunk(20, "+x")
