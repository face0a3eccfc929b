"""The crash guard: a patch that was loading when the machine died is not tried again."""

from __future__ import annotations

import contextlib
import re
import subprocess
from pathlib import Path

import pytest

from suture.elf.object_writer import NewSection, write_object
from suture.error import ExitCode
from suture.kernel import boot, livepatch, mark, transition
from suture.kernel.boot import Loaded
from suture.kernel.check import WrongKernel
from suture.kernel.manifest import SECTION, KernelPatch, parse_patch
from suture.kernel.mark import SETTLED_MINUTES
from suture.kernel.transition import TransitionResult
from suture.patch.seal import seal
from suture.report.kernel import KernelOutcome
from tests.kernel.conftest import BUILD_ID, manifest


@pytest.fixture
def kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A patch that is kept for the running kernel, whose build-id is that of the tests."""
    monkeypatch.setenv("SUTURE_STATE", str(tmp_path / "state"))
    monkeypatch.setattr(livepatch, "build_id", lambda: BUILD_ID)
    path = tmp_path / "new.ko"
    path.write_bytes(seal(write_object([NewSection(SECTION, 0, manifest().to_json())], [])))
    boot.install(path, parse_patch(path.read_bytes(), "x"), tmp_path / "units")
    boot.settled()
    return next((tmp_path / "state").rglob("*.ko"))


class Died(BaseException):
    """The machine dies."""


def applied(path: Path, patch: KernelPatch, timeout: float) -> TransitionResult:
    return TransitionResult(patch.manifest.module, KernelOutcome.APPLIED, 0.1)


def reboot(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, name: str) -> None:
    (tmp_path / name).write_text(f"{name}\n")
    monkeypatch.setattr(mark, "_BOOT_ID", tmp_path / name)


def test_a_patch_is_loaded_at_each_boot(kept: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(transition, "apply", applied)
    for name in ("first", "second"):
        reboot(monkeypatch, tmp_path, name)
        assert boot.load_all() == [Loaded("suture_new_00000001: applied")]
        assert boot.main(["settled"]) == 0


@pytest.mark.parametrize("when", ["while it is loaded", "a minute after"])
def test_a_patch_that_the_machine_died_of_is_held_back_and_said_so(
    when: str, kept: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def die(*_: object) -> TransitionResult:
        raise Died

    monkeypatch.setattr(transition, "apply", die if when == "while it is loaded" else applied)
    reboot(monkeypatch, tmp_path, "first")
    with contextlib.suppress(Died):
        boot.load_all()
    assert [r.state for r in boot.standing()] == ["loaded at boot"]
    reboot(monkeypatch, tmp_path, "second")
    monkeypatch.setattr(transition, "apply", applied)
    assert boot.main(["load"]) == ExitCode.REFUSED
    assert f"not tried again, the machine died while loading it or within {SETTLED_MINUTES} minutes after" in (
        capsys.readouterr().out
    )
    assert [r.state.partition(":")[0] for r in boot.standing()] == ["held back"]
    boot.settled()  # of the second boot, which loaded nothing
    assert boot.main(["load"]) == ExitCode.REFUSED
    # a person tries it: it counts as new
    boot.install(kept, parse_patch(kept.read_bytes(), "x"), tmp_path / "units")
    boot.settled()
    assert boot.main(["load"]) == 0


def test_the_exit_code_tells_that_a_patch_is_not_in_force(kept: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object) -> TransitionResult:
        raise WrongKernel("the running kernel is another", "make one for it")

    monkeypatch.setattr(transition, "apply", refuse)
    assert boot.main(["load"]) == ExitCode.WRONG_TARGET
    assert not list(kept.parent.glob("*.loading"))


def test_a_file_that_was_damaged_does_not_keep_the_others_from_being_loaded(
    kept: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(transition, "apply", applied)
    kept.with_name("suture_bad.ko").write_bytes(b"torn")
    assert boot.main(["load"]) == ExitCode.BAD_PATCH
    assert "suture_new_00000001: applied" in capsys.readouterr().out


def test_the_units_stop_before_the_machine_does() -> None:
    loader = boot.unit_texts()["suture-kernel.service"]
    assert "Conflicts=shutdown.target" in loader and "ExecStop=" in loader


@pytest.mark.parametrize("name", ["suture-kernel.service", "suture-kernel-settled.service"])
def test_a_unit_finds_this_package_wherever_it_lies(name: str, tmp_path: Path) -> None:
    text = boot.unit_texts()[name]
    (own,) = re.findall("^Environment=(.*)$", text, re.M)
    command = re.findall("^Exec(?:Start|Stop)=(.*settled)$", text, re.M)[0].replace(" -m ", " -S -m ")
    env = dict(word.split("=", 1) for word in own.split())
    subprocess.run(command.split(), env={**env, "SUTURE_STATE": str(tmp_path)}, cwd="/", check=True)


def test_a_patch_of_another_kernel_is_left_alone(kept: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(livepatch, "build_id", lambda: "other")
    assert boot.load_all() == []


def test_a_reverted_patch_is_forgotten(kept: Path) -> None:
    boot.forget("suture_new_00000001")
    assert boot.standing() == () and not kept.exists()
