"""The verbs on kernel patches, as far as no kernel is needed."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from suture.cli.main import main
from suture.elf.object_writer import NewSection, write_object
from suture.error import ExitCode, Refused
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


@pytest.mark.parametrize(
    "words",
    [
        ("--relaxed", "a reason"),
        ("--apart", "a reason"),
        ("--fix-from", "linux=6.1.1-1:x"),
        ("--file", "vmlinux"),
        ("--binary", "vmlinux"),
        ("--try", "--tripwires"),
        ("--no-tripwire", "a.c:1=reason"),
    ],
)
def test_an_option_that_means_nothing_to_a_kernel_is_refused(
    words: tuple[str, str], capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["make", "--source", "linux=6.1.176-1", "--fix", "x", *words, "--json"]) == ExitCode.USAGE
    assert words[0] in json.loads(capsys.readouterr().out)["error"]


@pytest.mark.parametrize(
    "words",
    [
        ("show", "PATCH", "--disassemble"),
        ("show", "PATCH", "--binary", "x"),
        ("verify", "PATCH", "--tree", "x", "--binary", "y"),
        ("apply", "PATCH", "--jobs", "2"),
        ("revert", "PATCH", "1"),
        ("revert", "PATCH", "--to", "suture_other"),
    ],
)
def test_an_option_for_processes_is_refused_with_a_kernel_patch(
    module: Path, words: tuple[str, ...], capsys: pytest.CaptureFixture[str]
) -> None:
    assert main([str(module) if w == "PATCH" else w for w in words] + ["--json"]) == ExitCode.USAGE
    said = json.loads(capsys.readouterr().out)["error"]
    assert "for a kernel" in said or "for processes" in said


def test_every_option_of_make_for_a_kernel_reaches_the_request(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Each option is refused, or is in what is asked for: none is passed over."""
    from suture.cli.main import build_parser
    from suture.make_kernel import request

    asked = []

    def ready(wanted: request.KernelRequest, _: object) -> None:
        asked.append(wanted)
        raise Refused("far enough", "for this test")

    monkeypatch.setattr(request, "ready", ready)
    (tmp_path / "c").write_text("int callback;\n")
    given = {
        "--fix": str(tmp_path / "c"), "--to": "6.1.190-1",
        "--only": "net", "--cve": "CVE-2099-0001", "--flavour": "rt-amd64",
        "--reaches": "6.1.191-1", "--callbacks": str(tmp_path / "c"), "--replace": None,
        "--tripwires": None, "--no-tripwire": "a.c:7=a reason",
    }  # fmt: skip
    words = [w for pair in given.items() for w in pair if w is not None]
    assert (
        main(["make", "--source", "linux=6.1.176-1", "--output", str(tmp_path), *words, "--json"]) == ExitCode.REFUSED
    )
    (one,) = asked
    assert one == request.KernelRequest(
        "linux=6.1.176-1", (("c", "int callback;\n"),), "6.1.190-1", ("net",), ("CVE-2099-0001",), "int callback;\n",
        True,
        "rt-amd64", "6.1.191-1", True, (("a.c:7", "a reason"),),
    )  # fmt: skip
    parser, _ = build_parser("make")
    choices = next(a.choices for a in parser._actions if a.dest == "verb")
    assert isinstance(choices, dict)
    options = {o for a in choices["make"]._actions for o in a.option_strings if o.startswith("--")}
    refused = {"--relaxed", "--apart", "--fix-from", "--file", "--binary", "--try"}
    beside = {
        "--source",
        "--for",
        "--tree",
        "--output",
        "--ledger",
        "--sign-key",
        "--sign-cert",
        "--json",
        "--debug",
        "--help",
    }
    assert options - beside == refused | set(given), (
        "a new option of make: refuse it for kernels, or put it into the request"
    )
    capsys.readouterr()


def test_a_cve_number_of_a_kernel_fix_is_checked_too(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["make", "--source", "linux=6.1.176-1", "--fix", "x", "--cve", "CVE-1", "--json"]) == ExitCode.USAGE
    assert "no CVE number" in json.loads(capsys.readouterr().out)["error"]
