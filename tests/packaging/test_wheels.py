"""The list of Python packages that the Debian package brings, and how their files are laid out."""

from __future__ import annotations

import re
import zipfile
from pathlib import Path

import pytest
import wheels


def test_the_list_has_the_pins_of_the_project_and_a_digest_for_each_package() -> None:
    pins = dict(pin.split("==") for pin in wheels.pinned())
    assert {name: wheels.locked().get(name) for name in pins} == pins
    assert len(re.findall(r"--hash=sha256:[0-9a-f]{64}$", wheels.LOCK.read_text(), re.M)) == len(wheels.locked())


def test_a_wheel_is_laid_out_with_its_licence_and_without_what_is_for_installers(tmp_path: Path) -> None:
    wheel = tmp_path / "x-1-py3-none-any.whl"
    with zipfile.ZipFile(wheel, "w") as packed:
        for name in ("x/__init__.py", "x-1.dist-info/RECORD", "x-1.dist-info/licenses/LICENSE", "x-1.data/scripts/x"):
            packed.writestr(name, "text")
    wheels.unpack(wheel, tmp_path / "to")
    laid_out = {p.relative_to(tmp_path / "to").as_posix() for p in (tmp_path / "to").rglob("*") if p.is_file()}
    assert laid_out == {"x/__init__.py", "x-1.dist-info/licenses/LICENSE"}


def test_a_wheel_that_leads_out_of_its_folder_is_not_taken(tmp_path: Path) -> None:
    wheel = tmp_path / "x-1-py3-none-any.whl"
    with zipfile.ZipFile(wheel, "w") as packed:
        packed.writestr("../outside", "text")
    with pytest.raises(ValueError, match="leads out of its folder"):
        wheels.unpack(wheel, tmp_path / "to")
    assert not (tmp_path / "outside").exists()
