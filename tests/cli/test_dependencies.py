from __future__ import annotations

import re
import tomllib
from pathlib import Path

ROOT = Path(__file__).parents[2]


def test_the_page_names_every_pin_and_no_other() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    pins = {
        tuple(requirement.split("=="))
        for requirement in (r for rows in project["optional-dependencies"].values() for r in rows)
        if not requirement.startswith("suture[")
    }
    assert project["dependencies"] == []
    page = (ROOT / "docs/reference/dependencies.md").read_text()
    rows = {match.groups() for match in re.finditer(r"^\| ([a-z0-9-]+) \| ([0-9.]+) \|", page, re.M)}
    assert rows == pins


def test_the_page_names_every_debian_package_that_the_set_up_installs() -> None:
    script = (ROOT / "setup").read_text()
    packages = " ".join(re.findall(r"packages\+?=\((.*?)\)", script)).split()
    page = (ROOT / "docs/reference/dependencies.md").read_text()
    assert len(packages) > 10
    assert [package for package in packages if f"`{package}`" not in page] == []
