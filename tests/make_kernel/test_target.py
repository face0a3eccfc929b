"""The kernel's recipe."""

from __future__ import annotations

from pathlib import Path

import pytest

from suture.compile.recipe import BadRecipe, folder
from suture.make_kernel.target import is_kernel, load_recipe


def test_the_recipe_names_packages_by_series_and_release() -> None:
    names = load_recipe().names
    assert names["image"].format(release="6.1.0-50-amd64") == "linux-image-6.1.0-50-amd64"
    assert names["source"].format(series="6.1") == "linux-source-6.1"


def test_an_unknown_field_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "kernel").mkdir()
    text = (folder() / "kernel/linux.toml").read_text()
    (tmp_path / "kernel/linux.toml").write_text(text + '\nunknown = "x"\n')
    with pytest.raises(BadRecipe, match="unknown"):
        load_recipe(tmp_path)


def test_only_the_source_package_linux_is_a_kernel() -> None:
    assert is_kernel("linux=6.1.176-1") and not is_kernel("linux-base=4.9")
