"""A patch file as a feed offers it."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence

from suture.report.feed import Offer, OfferState, Product
from suture.report.patch import Patch

SAFE, PASSED = "safe", "passed"


def offer_of(
    patch: Patch,
    data: bytes,
    product: Product,
    *,
    grade: str,
    trial: str,
    review: Sequence[str] = (),
    replaces: Sequence[str] = (),
) -> Offer:
    """`patch` and `grade` are what its manifest says, `trial` and `review` what its maker's records say."""
    return Offer(
        patch=patch.id,
        name=patch.name,
        kind=patch.kind,
        product=product,
        build_id=patch.build_id,
        binary=patch.file or patch.release,
        source=patch.source,
        version=patch.version,
        cves=(*patch.cves, *patch.shared_cves),
        fixes=patch.fixes,
        grade=grade,
        trial=trial,
        review=tuple(review),
        sha256=hashlib.sha256(data).hexdigest(),
        bytes=len(data),
        replaces=tuple(replaces),
        channels={},
        state=OfferState.OFFERED,
        reason="",
        since="",
    )


def doubt(offer: Offer) -> str:
    """Why a person should look at the patch before hosts put it in by themselves; "" for a safe one."""
    if offer.grade != SAFE:
        return f"its grade is {offer.grade or 'unknown'}"
    if offer.trial != PASSED:
        return f"its trial is {offer.trial!r}" if offer.trial else "it was not tried"
    return ""
