"""What a feed says of one binary: all patches that it has for this build-id, and where each stands. A small file of
its own, signed with the product's metadata, so that a host reads those of its own binaries and no other.

Time is part of it: an offer names for each channel the moment from which it holds, so a patch goes from one channel to
the next without being signed, built or uploaded again.
"""

from __future__ import annotations

import json
import re
from collections.abc import Collection, Iterable
from dataclasses import dataclass, replace
from datetime import datetime

from suture.patch import strict_json
from suture.report.encoding import NoDocument, of_type, plain
from suture.report.feed import Offer, OfferState, Product
from suture.report.patch import PatchKind

FORMAT = 1
_MOST_BYTES, _MOST_VALUES = 4 << 20, 1 << 18
_BUILD_ID = re.compile(r"[0-9a-f]{2,128}")
_ID = re.compile(r"[0-9a-f]{16}")
_SHA256 = re.compile(r"[0-9a-f]{64}")
_MOST_PATCH = 64 << 20
_SUFFIX = {PatchKind.PROCESS: ".suture.o", PatchKind.KERNEL: ".ko"}


class BadStatement(ValueError):
    """What was read is no statement, or one that cannot be true."""


@dataclass(frozen=True)
class Statement:
    """The patches for one build-id of one product, oldest first."""

    product: Product
    build_id: str
    offers: tuple[Offer, ...]


def is_build_id(text: str) -> bool:
    """Whether a text can be a build-id, and so a part of a path."""
    return _BUILD_ID.fullmatch(text) is not None


def statement_path(product: Product, build_id: str) -> str:
    """The name of a statement in the feed."""
    return f"{product.value}/{build_id}.json"


def index_path(product: Product) -> str:
    """The name of a product's index in the feed."""
    return f"{product.value}/index"


def file_name(offer: Offer) -> str:
    """The name of a patch's file on a host."""
    return offer.patch + _SUFFIX[offer.kind]


def patch_path(offer: Offer) -> str:
    """The name of a patch in the feed."""
    return f"patches/{file_name(offer)}"


def encode(statement: Statement) -> bytes:
    """A statement as a file: JSON, sorted."""
    return json.dumps({"format": FORMAT, **plain(statement)}, sort_keys=True, separators=(",", ":")).encode()


def decode(data: bytes, product: Product, build_id: str) -> Statement:
    """The statement of a build-id. Fields that are not known are left out. Raises `BadStatement`."""
    try:
        read = strict_json.loads(data, _MOST_BYTES, _MOST_VALUES)
        if not isinstance(read, dict) or read.get("format") != FORMAT:
            raise BadStatement("no statement of this format: a newer Suture may be needed")
        found = of_type(Statement, read, "statement")
    except (NoDocument, ValueError, UnicodeDecodeError) as problem:
        raise BadStatement(str(problem)) from problem
    if (found.product, found.build_id) != (product, build_id):
        raise BadStatement(f"it is for {found.product.value} {found.build_id[:128]}")
    for offer in found.offers:
        _check(offer, found)
    if len({o.patch for o in found.offers}) != len(found.offers):
        raise BadStatement("it names a patch twice")
    return found


def _check(offer: Offer, of: Statement) -> None:
    if (offer.product, offer.build_id) != (of.product, of.build_id):
        raise BadStatement(f"an offer is for {offer.product.value} {offer.build_id[:128]}")
    if not _ID.fullmatch(offer.patch) or not _SHA256.fullmatch(offer.sha256) or not 0 < offer.bytes <= _MOST_PATCH:
        raise BadStatement("an offer names no file that a patch can be")
    if (offer.kind is PatchKind.KERNEL) != (offer.product is Product.KERNEL):
        raise BadStatement("an offer is of another product than its kind")
    for text in (*offer.channels.values(), *([offer.since] if offer.since else [])):
        try:
            moment(text)
        except ValueError as problem:
            raise BadStatement(f"{text[:40]!r} is no time") from problem


def moment(text: str) -> datetime:
    """A time as statements write it (RFC 3339, UTC). Raises ValueError."""
    found = datetime.fromisoformat(text)
    if found.tzinfo is None:
        raise ValueError("without a time zone")
    return found


def add(statement: Statement, offer: Offer) -> Statement:
    """The statement with one patch more, or with the same patch said anew. What the new one replaces stays and is not
    given to hosts any more."""
    older = tuple(o for o in statement.offers if o.patch != offer.patch)
    wider = tuple(o.patch for o in older if o.fixes and set(o.fixes) <= set(offer.fixes))
    replaces = tuple(dict.fromkeys((*offer.replaces, *wider)))
    return replace(statement, offers=(*older, replace(offer, replaces=replaces)))


def withdraw(
    statement: Statement, patch: str, state: OfferState, reason: str, since: str, held_with: str = ""
) -> Statement:
    """The statement in which one patch has another state, and nothing is left of the one before."""
    return replace(
        statement,
        offers=tuple(
            replace(o, state=state, reason=reason, since=since, held_with=held_with) if o.patch == patch else o
            for o in statement.offers
        ),
    )


def current(statement: Statement, channel: str, now: datetime, without: Collection[str] = ()) -> tuple[Offer, ...]:
    """The patches that a host on this channel puts in now, oldest first: offered, their time come, and not replaced by
    another such. Those `without` take the place of none: the host has had them, and they did not do there."""
    due = [o for o in statement.offers if o.state is OfferState.OFFERED and is_due(o, channel, now)]
    gone = {r for o in due for r in o.replaces if o.patch not in without}
    return tuple(o for o in due if o.patch not in gone)


def is_due(offer: Offer, channel: str, now: datetime) -> bool:
    """Whether the channel has the patch by now."""
    return channel in offer.channels and moment(offer.channels[channel]) <= now


def waiting(statement: Statement, channel: str, now: datetime) -> tuple[Offer, ...]:
    """The patches that are offered and whose time on this channel has not come."""
    return tuple(o for o in statement.offers if o.state is OfferState.OFFERED and not is_due(o, channel, now))


def withdrawn(statements: Iterable[Statement]) -> tuple[Offer, ...]:
    """All patches that were withdrawn."""
    return tuple(o for s in statements for o in s.offers if o.state is not OfferState.OFFERED)


def channels(statements: Collection[Statement]) -> tuple[str, ...]:
    """The names of all channels that the offers name."""
    return tuple(dict.fromkeys(c for s in statements for o in s.offers for c in o.channels))
