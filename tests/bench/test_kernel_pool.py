"""What a kernel change takes in from the rest of the difference when the compiler rejects it."""

from __future__ import annotations

import importlib
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest


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
    pool = module.Pool({p: f"--- a/{p}\n+++ b/{p}\n" for p in CHANGES}, CHANGES)
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


@pytest.mark.parametrize(
    ("said", "names"),
    [
        ("[NVME_NEW] undeclared (first use in this function); did you mean [NVME_OLD]?", ["NVME_NEW"]),
        ("[struct tcf_proto] has no member named [usesw]", ["usesw"]),
        ("invalid use of undefined type [struct nfs_net]", ["nfs_net"]),
        ("too few arguments to function [lookup]", ["lookup"]),
        ("initialization of [int (*)(int)] from incompatible pointer type [int (*)(void)]", ["validate", "nft_validate"]),
    ],
)  # fmt: skip
def test_what_the_compiler_misses(module: ModuleType, said: str, names: list[str]) -> None:
    said = said.replace("[", "\u2018").replace("]", "\u2019")
    log = f"net/x.c: In function [f]:\nnet/x.c:3:9: error: {said}\n    3 |         .validate = nft_validate,\n      |         ^~~\n"
    assert module.needs({"net/x.c": log}) == [module.Need(n, "net/x.c") for n in names]


def test_the_hunks_of_a_file_stand_in_its_order(module: ModuleType) -> None:
    pool = module.Pool({"b.h": "--- a/b.h\n+++ b/b.h\n"}, {})
    text = pool.text({"b.h": [hunk(20, "+x"), hunk(3, "+y")], "a.c": [hunk(1, "+z")]}, "HEAD\n")
    assert text == "HEAD\n" + hunk(1, "+z") + "--- a/b.h\n+++ b/b.h\n" + hunk(3, "+y") + hunk(20, "+x")
