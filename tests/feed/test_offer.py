"""Which patches hosts may put in without a person having looked."""

from __future__ import annotations

import pytest

from suture.feed.offer import doubt, offer_of
from suture.host.described import described
from suture.patch.file import parse_patch
from suture.report.feed import Product


@pytest.mark.parametrize(
    ("grade", "trial", "why"),
    [
        ("safe", "passed", ""),
        ("safe", "", "it was not tried"),
        ("safe", "not run", "its trial is 'not run'"),
        ("safe", "failed", "its trial is 'failed'"),
        ("review", "passed", "its grade is review"),
        ("refused", "passed", "its grade is refused"),
        ("", "passed", "its grade is unknown"),
    ],
)
def test_a_patch_is_safe_when_its_grade_and_its_trial_say_so(made: bytes, grade: str, trial: str, why: str) -> None:
    patch = parse_patch(made, "x")
    offer = offer_of(described(patch), made, Product.OTHER, grade=grade, trial=trial)
    assert doubt(offer) == why
    assert (offer.patch, offer.build_id) == (patch.id, patch.manifest.target.build_id)
    assert offer.sha256.startswith(patch.id) and offer.bytes == len(made)
