"""The kernel's live patches, from a sysfs that the test writes."""

from __future__ import annotations

import struct
from pathlib import Path

import pytest

from suture.kernel.livepatch import LoadedPatch, build_id, module_build_ids, patches, record

NOTE = struct.pack("<III", 4, 4, 3) + b"GNU\0" + bytes.fromhex("0123abcd")


@pytest.fixture
def sys(tmp_path: Path) -> Path:
    own = tmp_path / "module/suture_one/parameters"
    own.mkdir(parents=True)
    for name, text in {"patch": "f" * 16, "target": "6.1", "cves": "CVE-1,CVE-2", "fixes": "a.patch"}.items():
        (own / name).write_text(text + "\n")
    for place in ("vmlinux/do_it,1", "vmlinux/do_it,2", "nf_tables/with,comma,0"):
        (tmp_path / "kernel/livepatch/suture_one" / place).mkdir(parents=True)
    switch(tmp_path, "suture_one", enabled="1", transition="0")
    return tmp_path


def switch(sys: Path, name: str, **flags: str) -> None:
    folder = sys / "kernel/livepatch" / name
    folder.mkdir(parents=True, exist_ok=True)
    for flag, value in flags.items():
        (folder / flag).write_text(value + "\n")


def test_a_patch_has_its_functions_with_their_positions_and_what_it_says_of_itself(sys: Path) -> None:
    (one,) = patches(sys)
    assert one.functions == (("nf_tables", "with,comma", 0), ("vmlinux", "do_it", 1), ("vmlinux", "do_it", 2))
    assert one.is_ours and one.cves == ("CVE-1", "CVE-2") and one.fixes == ("a.patch",)


@pytest.mark.parametrize(
    ("enabled", "transition", "state"),
    [("1", "0", "applied"), ("1", "1", "being applied"), ("0", "1", "being reverted"), ("0", "0", "disabled")],
)
def test_the_two_flags_tell_the_state(sys: Path, enabled: str, transition: str, state: str) -> None:
    switch(sys, "suture_one", enabled=enabled, transition=transition)
    assert patches(sys)[0].state == state


def test_patches_of_others_are_told_and_are_not_ours(sys: Path) -> None:
    switch(sys, "kpatch_two", enabled="1", transition="0")
    found = {p.name: p for p in patches(sys)}
    assert set(found) == {"kpatch_two", "suture_one"} and not found["kpatch_two"].is_ours
    assert found["kpatch_two"].cves == found["kpatch_two"].functions == ()


def test_our_module_that_is_in_no_list_of_the_kernel_is_disabled(sys: Path) -> None:
    (sys / "module/suture_two/parameters").mkdir(parents=True)
    (sys / "module/other/parameters").mkdir(parents=True)
    assert LoadedPatch("suture_two", False, False, (), {}) in patches(sys)
    assert {p.name for p in patches(sys)} == {"suture_one", "suture_two"}


def test_what_is_not_there_is_empty(tmp_path: Path) -> None:
    assert patches(tmp_path) == () and record("none", tmp_path) == {} and build_id(tmp_path) == ""


def test_build_ids_are_those_of_the_notes(sys: Path) -> None:
    (sys / "kernel/notes").write_bytes(NOTE)
    assert build_id(sys) == "0123abcd"
    (sys / "module/suture_one/notes").mkdir()
    (sys / "module/suture_one/notes/.note.gnu.build-id").write_bytes(NOTE)
    assert module_build_ids(("suture_one", "none"), sys) == {"suture_one": "0123abcd"}
