"""The crash guard: a patch that was loading when the machine died is not tried again."""

from __future__ import annotations

from pathlib import Path

import pytest

from suture.elf.object_writer import NewSection, write_object
from suture.kernel import boot, livepatch, transition
from suture.kernel.manifest import SECTION, KernelPatch, parse_patch
from suture.kernel.transition import Outcome, TransitionResult
from tests.kernel.conftest import BUILD_ID, manifest


@pytest.fixture
def kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A patch that is kept for the running kernel, whose build-id is that of the tests."""
    monkeypatch.setenv("SUTURE_STATE", str(tmp_path / "state"))
    monkeypatch.setattr(livepatch, "build_id", lambda: BUILD_ID)
    path = tmp_path / "new.ko"
    path.write_bytes(write_object([NewSection(SECTION, 0, manifest().to_json())], []))
    boot.install(path, parse_patch(path.read_bytes(), "x"), tmp_path / "unit")
    return next((tmp_path / "state").rglob("*.ko"))


class Died(BaseException):
    """The machine dies."""


def test_a_patch_is_loaded_at_each_boot(kept: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    loads = []

    def apply(path: Path, patch: KernelPatch, timeout: float) -> TransitionResult:
        loads.append(path)
        return TransitionResult(patch.manifest.module, Outcome.APPLIED, 0.1)

    monkeypatch.setattr(transition, "apply", apply)
    assert boot.load_all() == ["suture_new_00000001: applied"]
    boot.load_all()
    assert loads == [kept, kept]


def test_a_patch_that_the_machine_died_of_is_held_back_and_said_so(kept: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def die(*_: object) -> TransitionResult:
        raise Died

    monkeypatch.setattr(transition, "apply", die)
    with pytest.raises(Died):
        boot.load_all()
    said = boot.load_all()
    assert "not tried again" in said[0]
    assert [r.state for r in boot.standing()] == ["held back: the machine died while loading it"]


def test_a_patch_of_another_kernel_is_left_alone(kept: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(livepatch, "build_id", lambda: "other")
    assert boot.load_all() == []


def test_a_reverted_patch_is_forgotten(kept: Path) -> None:
    boot.forget("suture_new_00000001")
    assert boot.standing() == () and not kept.exists()
