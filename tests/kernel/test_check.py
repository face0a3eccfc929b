"""What is said before anything is loaded."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from suture.error import Refused, Unsupported
from suture.kernel.check import InTransition, WrongKernel, check, losses
from suture.kernel.check import facts as read_facts
from suture.make_kernel.signature import _MAGIC
from tests.kernel.conftest import facts, loaded, patch


def test_a_patch_that_fits_is_let_through() -> None:
    assert check(patch(), facts()) == ()


@pytest.mark.parametrize("wrong", [{"release": "6.1.0-51-amd64"}, {"build_id": "ffff"}])
def test_another_kernel_is_the_wrong_target(wrong: dict[str, str]) -> None:
    with pytest.raises(WrongKernel):
        check(patch(), facts(**wrong))


def test_a_kernel_without_live_patching_is_named_so() -> None:
    with pytest.raises(Unsupported, match="no live patching"):
        check(patch(), facts(livepatch=False))


@pytest.mark.parametrize("strict", [{"lockdown": "integrity"}, {"signatures": True}])
def test_an_unsigned_patch_is_refused_where_signatures_are_asked_for(strict: dict[str, object]) -> None:
    with pytest.raises(Refused) as raised:
        check(patch(), facts(**strict))
    assert "--sign-key" in raised.value.remedy
    signature = b"x" * 20 + b"\0\0\x02\0\0\0\0\0" + (20).to_bytes(4, "big") + _MAGIC
    check(patch(b"module" + signature), facts(**strict))


@pytest.mark.parametrize(("taint", "word"), [(1 << 7, "oops"), (1 << 1, "force")])
def test_a_kernel_whose_memory_is_not_to_be_trusted_is_refused(taint: int, word: str) -> None:
    with pytest.raises(Refused, match=word):
        check(patch(), facts(taint=taint))


def test_a_function_that_another_patch_replaced_is_refused_and_a_cumulative_patch_is_not() -> None:
    with pytest.raises(Refused, match="vmlinux:vt_ioctl"):
        check(patch(), facts(patches=(loaded("suture_old"),)))
    check(patch(replace=True), facts(patches=(loaded("suture_old"),)), accept_loss=True)
    check(patch(), facts(patches=(loaded("suture_old", enabled=False),)))


def test_a_cumulative_patch_says_which_fixes_it_would_lose_and_is_refused_without_a_word_from_a_person() -> None:
    old = loaded("suture_old")
    with pytest.raises(Refused) as raised:
        check(patch(replace=True), facts(patches=(old,)))
    assert "x.patch of suture_old (CVE-2026-1)" in str(raised.value) and "--accept-loss" in raised.value.remedy
    assert check(patch(replace=True), facts(patches=(old,)), accept_loss=True) == (
        "lost: x.patch of suture_old (CVE-2026-1)",
    )
    same = {**old.record, "fixes": "a.patch", "cves": "CVE-2026-1111"}
    assert losses(patch(replace=True), [replace(old, record=same), loaded("off", enabled=False)]) == ()
    assert losses(patch(), [old]) == ()


def test_a_cumulative_patch_does_not_end_another_makers() -> None:
    with pytest.raises(Refused, match="another maker"):
        check(patch(replace=True), facts(patches=(loaded("kpatch_x", ours=False),)))


def test_a_transition_under_way_is_waited_for() -> None:
    with pytest.raises(InTransition):
        check(patch(), facts(patches=(loaded("other", transition=True),)))


def test_a_module_from_elsewhere_is_the_wrong_target() -> None:
    wanted = patch(objects={"ext4": "aa"})
    with pytest.raises(WrongKernel, match="ext4"):
        check(wanted, facts(modules={"ext4": "bb"}))
    assert "when it comes" in check(wanted, facts())[0]


def test_facts_are_read_from_sysfs(tmp_path: Path) -> None:
    (tmp_path / "kernel/livepatch/other/vmlinux/f,2").mkdir(parents=True)
    (tmp_path / "kernel/livepatch/other/enabled").write_text("1\n")
    (tmp_path / "kernel/livepatch/other/transition").write_text("0\n")
    (tmp_path / "kernel/security").mkdir()
    (tmp_path / "kernel/security/lockdown").write_text("none [integrity] confidentiality\n")
    found = read_facts(sys=tmp_path, proc=tmp_path)
    assert found.livepatch and found.lockdown == "integrity"
    assert [(p.name, p.functions, p.is_ours) for p in found.patches] == [("other", (("vmlinux", "f", 2),), False)]
