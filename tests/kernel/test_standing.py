"""The running kernel against patch files: what runs, and what the next boot runs."""

from __future__ import annotations

import struct
from dataclasses import replace
from pathlib import Path

import pytest

from suture.kernel.check import KernelFacts
from suture.kernel.livepatch import LoadedPatch
from suture.kernel.manifest import KernelPatch
from suture.kernel.standing import NextBoot, image_version, next_version, row
from suture.report.row import KernelRow
from suture.report.standing import Disk, Memory
from tests.kernel.conftest import facts, patch

VERSION = "6.1.176-1"
HERE = NextBoot(VERSION)


def in_force(one: KernelPatch, **changed: object) -> LoadedPatch:
    record = {"patch": one.id, "target": VERSION, "cves": ",".join(one.manifest.cves)}
    loaded = LoadedPatch(one.manifest.module, True, False, (("vmlinux", "vt_ioctl", 1),), record)
    return replace(loaded, **changed)  # type: ignore[arg-type]


def seen(
    patches: list[KernelPatch], here: KernelFacts, modules: dict[str, str] | None = None, then: NextBoot = HERE
) -> KernelRow:
    found = row(patches, here, VERSION, modules or {}, then)
    assert found is not None
    return found


def test_a_kernel_that_no_patch_is_for_and_that_has_none_is_not_listed() -> None:
    assert row([], facts(), VERSION, {}, HERE) is None
    assert row([patch()], facts(build_id="other"), VERSION, {}, HERE) is None


def test_a_patch_that_is_not_loaded_leaves_its_cves_open() -> None:
    found = seen([patch()], facts())
    assert (found.standing.memory, found.standing.disk, found.cves) == (Memory.OPEN, Disk.OPEN, ("CVE-2026-1111",))
    assert "is not applied" in found.why


@pytest.mark.parametrize(
    ("then", "disk", "lost"),
    [
        (HERE, Disk.OPEN, True),
        (NextBoot("6.1.177-1"), Disk.REPLACED, False),
        (NextBoot(VERSION, frozenset({"suture_new_00000001"})), Disk.PATCHED_AT_BOOT, False),
        (NextBoot(""), Disk.UNREAD, False),
    ],
)
def test_a_patch_in_force_is_told_apart_from_what_the_next_boot_runs(then: NextBoot, disk: Disk, lost: bool) -> None:
    one = patch()
    found = seen([one], facts(patches=(in_force(one),)), then=then)
    assert (found.standing.memory, found.standing.disk, found.cves) == (Memory.FIXED, disk, ("CVE-2026-1111",))
    assert found.standing.is_lost_at_next_start is lost


@pytest.mark.parametrize("changed", [{"transition": True}, {"enabled": False, "transition": True}])
def test_a_transition_is_not_yet_or_no_longer_a_fix(changed: dict[str, object]) -> None:
    one = patch()
    assert seen([one], facts(patches=(in_force(one, **changed),))).standing.memory is Memory.PARTLY


def test_a_module_that_is_called_like_the_patch_and_is_another_is_not_a_fix() -> None:
    one = replace(patch(), build_id="aa")
    found = seen([one], facts(patches=(in_force(one),)), {one.manifest.module: "bb"})
    assert found.standing.memory is Memory.OPEN and "build-id bb" in found.why
    assert seen([one], facts(patches=(in_force(one),)), {one.manifest.module: "aa"}).standing.memory is Memory.FIXED


def test_a_live_patch_whose_file_is_not_here_proves_nothing() -> None:
    found = seen([], facts(patches=(in_force(patch()),)))
    assert (found.standing.memory, found.standing.disk) == (Memory.CLAIMED, Disk.SAME)


def test_a_cumulative_patch_stands_for_the_patches_whose_fixes_it_has() -> None:
    old, new = patch(), patch(replace=True)
    new = replace(new, id="1" * 16, manifest=replace(new.manifest, module="suture_all_00000002"))
    assert seen([old, new], facts(patches=(in_force(new),))).standing.memory is Memory.FIXED
    assert seen([old, new], facts(patches=(in_force(old),))).standing.memory is Memory.PARTLY


def boot_image(path: Path, version: str) -> None:
    text = f"6.1.0-50-amd64 (debian-kernel@lists.debian.org) #1 SMP PREEMPT_DYNAMIC Debian {version} (2026-07-02)\0"
    head = bytearray(0x3000)
    head[0x202:0x206] = b"HdrS"
    struct.pack_into("<H", head, 0x20E, 0x1000 - 0x200)
    head[0x1000 : 0x1000 + len(text)] = text.encode()
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(head)


def test_the_next_boot_takes_what_vmlinuz_leads_to_or_the_newest_image(tmp_path: Path) -> None:
    assert next_version(tmp_path) == ""
    boot_image(tmp_path / "boot/vmlinuz-6.1.0-9-amd64", "6.1.27-1")
    boot_image(tmp_path / "boot/vmlinuz-6.1.0-50-amd64", VERSION)
    assert next_version(tmp_path) == VERSION
    (tmp_path / "vmlinuz").symlink_to("boot/vmlinuz-6.1.0-9-amd64")
    assert next_version(tmp_path) == "6.1.27-1"


def test_what_is_no_boot_image_tells_no_version(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"\0" * 0x10000)
    assert image_version(tmp_path / "file") == "" and image_version(tmp_path / "none") == ""
