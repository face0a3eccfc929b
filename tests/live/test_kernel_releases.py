"""The archive's other kernels: flavours, and the series of other releases of Debian, each made for, booted, patched and
reverted."""

from __future__ import annotations

from pathlib import Path

import pytest

from suture.machine.vm import Guest
from suture.make_kernel.make import make
from suture.make_kernel.request import KernelRequest, ready
from suture.make_kernel.target import find

pytestmark = [pytest.mark.archive, pytest.mark.slow]
_FIX = Path(__file__).resolve().parents[1] / "kernel/fixes/pipe_odd.patch"
_READ = "echo hello | dd bs=4242 count=1 2>&1 | grep -v records"


@pytest.mark.parametrize(
    "release",
    [
        "6.1.0-50-cloud-amd64",
        "6.1.0-50-rt-amd64",
        "5.10.0-46-amd64",
        "6.12.118+deb13-amd64",
        "6.12.117+deb12-amd64",
    ],
)
def test_a_fix_is_made_for_a_kernel_of_the_archive_and_changes_it_while_it_runs(release: str) -> None:
    patch = make(ready(KernelRequest(f"linux={release}", ((_FIX.name, _FIX.read_text()),))))
    assert patch.manifest.target.release == release
    with Guest(find(release), shared={"fix.ko": patch.data}) as guest:
        assert guest.run("uname -r").output.strip() == release
        assert "hello" in guest.run(_READ).output
        applied = guest.suture("apply /mnt/fix.ko --timeout 120")
        assert applied.status == 0, applied.output
        assert "Invalid argument" in guest.run(_READ).output
        reverted = guest.suture(f"revert {patch.manifest.module} --timeout 120")
        assert reverted.status == 0, reverted.output
        assert "hello" in guest.run(_READ).output
        said = guest.run("dmesg").output
        assert not [x for x in said.splitlines() if "BUG:" in x or "WARNING:" in x or "Oops" in x], said
