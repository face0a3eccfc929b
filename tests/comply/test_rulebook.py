"""Rules as files: the shipped ones fit their schema, and a wrong one is told with its place."""

from __future__ import annotations

import json
import tomllib
from importlib.resources import files
from pathlib import Path
from typing import Any

import jsonschema
import pytest

from suture.comply.rulebook import BadRule, load, parse

FOLDER = files("suture.comply")
SHIPPED = sorted(p.name for p in FOLDER.joinpath("rules").iterdir() if p.name.endswith(".toml"))
SCHEMA: Any = json.loads(FOLDER.joinpath("rules.schema.json").read_text())
GOOD = """\
id = "own"
title = "Own"
source = "the board"
clock = ["seen"]
ends = ["fixed in memory"]
[[clause]]
name = "all"
days = 7
"""


@pytest.mark.parametrize("name", SHIPPED)
def test_a_shipped_rule_fits_the_schema(name: str) -> None:
    jsonschema.validate(tomllib.loads(FOLDER.joinpath("rules", name).read_text()), SCHEMA)


@pytest.mark.parametrize(
    ("old", "new", "told"),
    [
        ("days = 7", "days = 7\nmonths = 1", "needs one of"),
        ("days = 7", "day = 7", "clause.day is not known"),
        ("days = 7", "days = -7", "days is no number"),
        ("days = 7", "days = 7\nwhen = { kev = 1 }", "kev is neither true nor false"),
        ("days = 7", "days = 7\nwhen = { moon = true }", "when.moon is not known"),
        ('"seen"', '"sunrise"', "sunrise"),
        ('id = "own"\n', "", "id is missing"),
        ("[[clause]]", "[[clause]", "no TOML"),
    ],
)
def test_a_wrong_rule_is_told(old: str, new: str, told: str) -> None:
    with pytest.raises(BadRule, match=told):
        parse(GOOD.replace(old, new), "own.toml")


def test_a_rule_of_ones_own_is_read_from_a_file(tmp_path: Path) -> None:
    (tmp_path / "own.toml").write_text(GOOD)
    assert load(tmp_path / "own.toml").clauses[0].term.days == 7
    with pytest.raises(BadRule, match="No such file"):
        load(tmp_path / "none.toml")
