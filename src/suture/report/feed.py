"""A feed of patches as reports name it: what it offers, what it withdrew, and how its roles stand."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import Enum

from suture.report.patch import PatchKind


class Product(Enum):
    """What a patch is for; each has keys of its own in a feed."""

    KERNEL = "kernel"
    LIBRARIES = "libraries"
    DATABASES = "databases"
    VIRTUALISATION = "virtualisation"
    OTHER = "other"


class OfferState(Enum):
    """What a feed says of a patch: apply it, put it into no further process, or take it out."""

    OFFERED = "offered"
    HOLD = "hold"
    REVERT = "revert"


@dataclass(frozen=True)
class Offer:
    """A patch in a feed. `patch` is its id, `build_id` that of the binary or kernel that it is for, `sha256` and
    `bytes` those of its file. `grade` and `trial` are what its maker found (docs/how-to/watch.md), `review` what a
    person should look at. `replaces` are ids of patches of the same binary that it takes the place of. `channels`:
    from when on each channel has it. `reason` and `since` tell of a withdrawal, `held_with` the patch (id) that was
    withdrawn where this one is held as another part of the same fix."""

    patch: str
    name: str
    kind: PatchKind
    product: Product
    build_id: str
    binary: str
    source: str
    version: str
    cves: tuple[str, ...]
    fixes: tuple[str, ...]
    grade: str
    trial: str
    review: tuple[str, ...]
    sha256: str
    bytes: int
    replaces: tuple[str, ...]
    channels: Mapping[str, str]
    state: OfferState
    reason: str
    since: str
    held_with: str = ""


@dataclass(frozen=True)
class FeedRole:
    """A role of the feed's metadata (The Update Framework): `threshold` of `keys` (ids) have to sign it. `held`: the
    ids of which the private keys are at hand."""

    name: str
    version: int
    expires: str
    threshold: int
    keys: tuple[str, ...]
    held: tuple[str, ...]


@dataclass(frozen=True)
class FetchedPatch:
    """A patch that was fetched, verified, to `path`. `new`: it was not there before."""

    offer: Offer
    path: str
    new: bool
