"""What a patch is for is told by its content, whatever its file is called."""

from __future__ import annotations

import shutil
from dataclasses import replace
from pathlib import Path

import pytest

from suture.elf.object_writer import NewSection, write_object
from suture.error import BadOption, NotFound, Refused
from suture.host.kernel import RunningKernel
from suture.host.processes import Processes
from suture.host.recipient import ApplyOptions, kind_of, named, of_file, of_files, read, refuse_apart
from suture.kernel.manifest import SECTION, KernelPatch
from suture.patch.file import PatchFile
from suture.patch.manifest import BadPatch
from suture.patch.seal import seal
from suture.report.patch import PatchKind
from tests.kernel.conftest import manifest


@pytest.fixture
def module(tmp_path: Path) -> Path:
    path = tmp_path / "new.suture.o"  # called as a patch for processes is
    path.write_bytes(seal(write_object([NewSection(SECTION, 0, manifest().to_json())], [])))
    return path


def test_the_name_of_the_file_decides_nothing(module: Path, patch: PatchFile, tmp_path: Path) -> None:
    other = tmp_path / "other.ko"
    shutil.copy(patch.object.name, other)
    assert isinstance(read(module), KernelPatch) and isinstance(of_file(module), RunningKernel)
    assert isinstance(read(other), PatchFile) and isinstance(of_file(other), Processes)


def test_a_module_of_somebody_else_is_read_as_a_module() -> None:
    data = write_object([NewSection(".modinfo", 0, b"license=GPL\0")], [])
    assert kind_of(data) is PatchKind.KERNEL
    assert (
        kind_of(b"text") is PatchKind.PROCESS
        and kind_of(write_object([NewSection(".x", 0, b"x")], [])) is PatchKind.PROCESS
    )


def test_what_is_no_patch_is_told_so(tmp_path: Path) -> None:
    text = tmp_path / "notes.ko"
    text.write_text("text")
    with pytest.raises(BadPatch):
        of_file(text)
    with pytest.raises(NotFound):
        of_file(tmp_path / "absent")


def test_a_carried_patch_is_named_by_id_module_or_file(
    module: Path,
    patch: PatchFile,
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
) -> None:
    monkeypatch.chdir(tmp_path)
    assert named("0123456789abcdef") == Processes("0123456789abcdef")
    assert named("suture_new_00000001") == RunningKernel("suture_new_00000001")
    assert named(patch.object.name).__dict__["id"] == patch.id
    found = named(module.name)
    assert isinstance(found, RunningKernel) and found.module == "suture_new_00000001"
    for word in ("nonsense", "0123", "suture_absent.ko", "folder/x"):
        with pytest.raises(NotFound):
            named(word)


def test_options_that_do_not_go_with_what_it_is_for_are_refused(module: Path, patch: PatchFile) -> None:
    for target, pids, options in (
        (of_file(module), [1], ApplyOptions(accept_unproved=True)),
        (of_file(module), [], ApplyOptions(replace=True)),
        (of_file(Path(patch.object.name)), [], ApplyOptions(at_boot=True)),
    ):
        for act in (target.apply, target.plan):
            with pytest.raises(BadOption):
                act(pids, options)
    with pytest.raises(BadOption):
        of_file(module).revert([], "0123456789abcdef", ApplyOptions())
    with pytest.raises(BadOption):
        named("0123456789abcdef").show()


def test_a_folder_stands_for_patches_of_one_fix(patch: PatchFile, module: Path, tmp_path: Path) -> None:
    def with_fixes(identity: str, *digests: str) -> PatchFile:
        (fix,) = patch.manifest.fixes
        fixes = tuple(replace(fix, sha256=d, name=f"{d}.patch") for d in digests)
        return replace(patch, id=identity, manifest=replace(patch.manifest, fixes=fixes))

    refuse_apart("DIR", [with_fixes("1", "aa"), with_fixes("2", "bb", "cc"), with_fixes("3", "aa", "cc")])
    with pytest.raises(Refused, match=r"DIR: holds patches of fixes .*\(aa.patch, bb.patch, cc.patch\)"):
        refuse_apart("DIR", [with_fixes("1", "aa"), with_fixes("2", "bb", "cc")])
    assert isinstance(of_files([tmp_path]), RunningKernel), "one alone may be of any kind"
    with pytest.raises(BadOption, match="is for the kernel, and the others are for processes"):
        of_files([Path(patch.object.name), module])
    (tmp_path / "empty").mkdir()
    with pytest.raises(NotFound, match="holds no live patch"):
        of_files([tmp_path / "empty"])
    twice = of_files([Path(patch.object.name)] * 2)
    assert isinstance(twice, Processes) and not twice.companions
