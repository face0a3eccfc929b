"""The kernel's patches as a document tells them."""

from __future__ import annotations

from suture.report.encoding import of_type, plain
from suture.report.kernel import AtBoot


def test_a_patch_that_an_older_host_keeps_for_the_next_boot_is_not_held_back() -> None:
    """What such a host wrote does not say."""
    kept = plain(AtBoot("suture_fix", "ab", "ready", held_back=True))
    assert of_type(AtBoot, kept, "boot").held_back
    del kept["held_back"]
    assert not of_type(AtBoot, kept, "boot").held_back
