"""Recipes as data: every one in the package, and what is wrong with others."""

from __future__ import annotations

from pathlib import Path

import pytest

from suture.compile import recipe
from suture.error import NotFound

GOOD = (
    '[build]\nconfigure = "c"\nrecord = "r"\nmoved = { "a/" = "b" }\n[[binary]]\npackage = "p"\n'
    'file = "usr/{multiarch}/x"\noutput = "x"\n'
)


NAMES = sorted(p.name.removesuffix(".toml") for p in recipe.folder().iterdir() if p.name.endswith(".toml"))


@pytest.mark.parametrize("name", NAMES)
def test_each_recipe_of_the_package_is_whole(name: str) -> None:
    found = recipe.load(name)
    assert found.binaries and all("{" not in b.file for b in found.binaries)


def test_the_six_packages_have_recipes() -> None:
    assert {"openssl", "glibc", "libxml2", "expat", "zlib", "postgresql-15"} <= set(NAMES)


def test_a_path_that_is_copied_before_it_is_compiled_is_translated() -> None:
    found = recipe.parse(GOOD, "x")
    assert found.built_path("a/lib/x.c") == "b/lib/x.c"
    assert found.built_path("ab/x.c") == "ab/x.c"
    assert found.binaries[0].file == "usr/x86_64-linux-gnu/x"


def test_functions_in_which_coroutines_stand_belong_to_a_binary() -> None:
    found = recipe.parse(GOOD + 'suspends = ["co_switch"]\n', "x")
    assert found.binaries[0].suspends == ("co_switch",)
    assert recipe.load("qemu").binaries[0].suspends == ("qemu_coroutine_switch",)


@pytest.mark.parametrize(
    "text",
    [
        GOOD.replace("record", "recrod"),
        GOOD.replace('configure = "c"\n', ""),
        GOOD.replace('output = "x"\n', ""),
        GOOD.replace("[[binary]]", "[[bin]]"),
        GOOD + "= broken",
    ],
)
def test_a_recipe_with_a_wrong_field_is_refused(text: str) -> None:
    with pytest.raises(recipe.BadRecipe):
        recipe.parse(text, "x")


def test_a_missing_recipe_is_said_with_the_remedy(tmp_path: Path) -> None:
    with pytest.raises(NotFound) as raised:
        recipe.load("nothing", tmp_path)
    assert "docs/reference/recipes.md" in raised.value.remedy
