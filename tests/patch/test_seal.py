"""The digest at a patch file's end: whatever is altered, the file is refused."""

from __future__ import annotations

import random

import pytest

from suture.patch.file import parse_patch
from suture.patch.manifest import BadPatch
from suture.patch.seal import check_seal, seal
from tests.patch.test_file import patch


def test_every_altered_byte_is_found_out() -> None:
    data, rng = patch(), random.Random(5)
    parse_patch(data, "p")
    for at in range(len(data)):
        altered = bytearray(data)
        altered[at] ^= 1 << rng.randrange(8)
        with pytest.raises(BadPatch):
            parse_patch(bytes(altered), "p")


@pytest.mark.parametrize("cut", [1, 32, 48, 49, 1000])
def test_a_file_that_was_cut_off_or_added_to_is_refused(cut: int) -> None:
    data = patch()
    for other in (data[:-cut], data + bytes(cut)):
        with pytest.raises(BadPatch):
            parse_patch(other, "p")


def test_sections_stripped_by_another_tool_take_the_digest_with_them() -> None:
    with pytest.raises(BadPatch, match="does not end in a digest"):
        check_seal(patch()[:-48], "p")


def test_the_same_content_has_the_same_end() -> None:
    assert seal(b"x") == seal(b"x") != seal(b"y")
    check_seal(seal(b""), "empty")
