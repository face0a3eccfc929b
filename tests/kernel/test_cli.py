"""The verbs on kernel patches, as far as no kernel is needed."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from suture.cli.main import main
from suture.elf.object_writer import NewSection, write_object
from suture.error import ExitCode
from suture.kernel.manifest import SECTION
from suture.patch.seal import seal
from tests.kernel.conftest import manifest


@pytest.fixture
def module(tmp_path: Path) -> Path:
    path = tmp_path / "suture_new_00000001.ko"
    path.write_bytes(seal(write_object([NewSection(SECTION, 0, manifest().to_json())], [])))
    return path


def test_a_patch_for_another_kernel_is_not_loaded(module: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["apply", str(module), "--json"]) == ExitCode.REFUSED
    assert "--accept-unproved" in json.loads(capsys.readouterr().out)["remedy"]
    assert main(["apply", str(module), "--accept-unproved", "--json"]) == ExitCode.WRONG_TARGET
    assert "the patch is for" in json.loads(capsys.readouterr().out)["error"]


def test_show_tells_what_is_replaced(module: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["show", str(module)]) == 0
    said = capsys.readouterr().out
    assert "linux 6.1.0-50-amd64 (6.1.176-1)" in said and "vt_ioctl" in said and "CVE-2026-1111" in said


def test_options_of_a_kernel_are_refused_elsewhere(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["make", "--source", "openssl=3.0.17-1~deb12u2", "--replace", "--json"]) == ExitCode.USAGE
    assert "--source linux=VERSION" in json.loads(capsys.readouterr().out)["remedy"]


def test_a_signature_needs_key_and_certificate(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["make", "--source", "linux=6.1.176-1", "--sign-key", "key.pem", "--json"]) == ExitCode.USAGE


def test_a_patch_that_is_not_loaded_can_not_be_reverted(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["revert", "suture_absent_00000000", "--json"]) == ExitCode.NOT_FOUND


def test_uname_prints_the_running_kernel(capsys: pytest.CaptureFixture[str]) -> None:
    import os

    assert main(["uname"]) == 0
    assert os.uname().release in capsys.readouterr().out
