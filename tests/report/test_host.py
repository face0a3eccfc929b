"""The running kernel in one line."""

from __future__ import annotations

from suture.report.host import Kernel


def test_a_kernel_is_told_with_the_version_that_its_live_patches_bring_it_to() -> None:
    def line(effective: str, *fixes: str) -> str:
        return Kernel("6.1.0-40-amd64", "6.1.153-1", effective, "ab", fixes).line()

    assert line("6.1.153-1") == "Linux 6.1.0-40-amd64 6.1.153-1"
    assert line("6.1.153-1", "a", "b") == "Linux 6.1.0-40-amd64 6.1.153-1+2 fixes"
    assert line("6.1.158-1", "a", "b") == "Linux 6.1.0-40-amd64 6.1.158-1"
