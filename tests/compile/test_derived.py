"""How a package without a recipe is recorded."""

from __future__ import annotations

from pathlib import Path

import pytest

from suture.compile.derived import Way, recipe, ways
from suture.source.archive import SourceVersion


def source(folder: Path, rules: str) -> SourceVersion:
    (folder / "tree/debian").mkdir(parents=True)
    (folder / "tree/debian/rules").write_text(rules)
    return SourceVersion("x", "1-1", "bookworm", folder / "x.dsc", folder / "tree")


@pytest.mark.parametrize(
    "line",
    ["dh $@", "dh ${@} --with autoreconf", "@dh $(@)", "PYTHON=python3 dh $@"],
)
def test_a_package_of_dh_is_recorded_with_stand_ins_first(tmp_path: Path, line: str) -> None:
    assert ways(source(tmp_path, f"#!/usr/bin/make -f\n%:\n\t{line}\n")) == (Way.STAND_IN, Way.BUILD)


@pytest.mark.parametrize(
    "rules",
    [
        "#!/usr/bin/make -f\ninclude /usr/share/cdbs/1/rules/debhelper.mk\n",
        "#!/usr/bin/make -f\nbuild-arch:\n\t./configure\n\tmake\nbinary:\n\tdh_installdirs\n\tdh_fixperms $(OPTIONS)\n",
    ],
)
def test_any_other_debian_rules_is_run_as_a_whole_with_stand_ins_first(tmp_path: Path, rules: str) -> None:
    assert ways(source(tmp_path, rules)) == (Way.RULES_STAND_IN, Way.RULES)


@pytest.mark.parametrize("way", list(Way))
def test_each_way_is_a_recipe_that_names_no_binary(tmp_path: Path, way: Way) -> None:
    made = recipe(source(tmp_path, ""), way)
    assert made.binaries == () and made.record
    assert made.real is not way.is_stand_in


@pytest.mark.parametrize(("rules", "way"), [("%:\n\tdh $@\n", Way.BUILD), ("build:\n\tmake\n", Way.RULES)])
def test_recorded_commands_that_did_not_do_are_not_tried_again(tmp_path: Path, rules: str, way: Way) -> None:
    assert ways(source(tmp_path, rules), real=True) == (way,)
