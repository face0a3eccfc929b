"""What the next publication takes in: patches and withdrawals, one file each in `staged/`. The patch itself lies
beside its facts."""

from __future__ import annotations

import json
import os
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from suture import whole_file
from suture.feed.error import BadFeed
from suture.feed.repository import Repository
from suture.patch import strict_json
from suture.report.encoding import NoDocument, of_type, plain
from suture.report.feed import Offer, OfferState, Product

_MOST_BYTES, _MOST_VALUES = 1 << 20, 1 << 16
_NAME = re.compile(r"(add|withdraw)-[0-9a-f]{16}\.json")


@dataclass(frozen=True)
class AddedPatch:
    """A patch to be offered. `channel`: the slowest that gets it at once, "" for each after its delay. `alone`: it
    takes the place of all others of its binary, as a cumulative patch of the kernel does."""

    offer: Offer
    channel: str
    alone: bool = False


@dataclass(frozen=True)
class Withdrawal:
    """A patch of the feed that is to have another state; OFFERED takes a withdrawal back. `held_with`: the patch (id)
    whose withdrawal holds this one too."""

    product: Product
    build_id: str
    patch: str
    state: OfferState
    reason: str
    held_with: str = ""


@dataclass(frozen=True)
class Staged:
    """All that is staged, in the order of its names."""

    added: tuple[AddedPatch, ...]
    withdrawn: tuple[Withdrawal, ...]
    paths: tuple[Path, ...]


def file_of(feed: Repository, patch: str) -> Path:
    """Where a staged patch lies."""
    return feed.staged / f"{patch}.patch"


def stage_patch(feed: Repository, added: AddedPatch, data: bytes) -> None:
    """Whole or not at all: the facts come last."""
    whole_file.replace(file_of(feed, added.offer.patch), data)
    _stage(feed, f"add-{added.offer.patch}", added)


def stage_withdrawal(feed: Repository, one: Withdrawal) -> None:
    _stage(feed, f"withdraw-{one.patch}", one)


def _stage(feed: Repository, name: str, value: AddedPatch | Withdrawal) -> None:
    whole_file.replace(feed.staged / f"{name}.json", json.dumps(plain(value), indent=1).encode())


def staged(feed: Repository) -> Staged:
    """Raises `BadFeed`."""
    added, withdrawn, paths = [], [], []
    for path in sorted(feed.staged.glob("*.json")):
        if not _NAME.fullmatch(path.name):
            continue
        kind: type[Any] = AddedPatch if path.name.startswith("add-") else Withdrawal
        try:
            one = of_type(kind, strict_json.loads(path.read_bytes(), _MOST_BYTES, _MOST_VALUES), path.name)
        except (NoDocument, ValueError) as problem:
            raise BadFeed(f"{path}: {problem}", "take the file away, and add or withdraw the patch again") from problem
        paths.append(path)
        if isinstance(one, AddedPatch):
            added.append(one)
            paths.append(file_of(feed, one.offer.patch))
        else:
            withdrawn.append(one)
    return Staged(tuple(added), tuple(withdrawn), tuple(paths))


def unstage(feed: Repository, patch: str) -> Offer | None:
    """Take a patch out of what is staged to be added; None for one that is not. Raises `BadFeed`."""
    one = next((a.offer for a in staged(feed).added if a.offer.patch == patch), None)
    if one is not None:
        drop((feed.staged / f"add-{patch}.json", file_of(feed, patch)))
    return one


def drop(paths: tuple[Path, ...]) -> None:
    """They are published."""
    for path in paths:
        path.unlink(missing_ok=True)


def link(source: Path, target: Path) -> None:
    """The same file under a second name; what is there already has the same contents, as its name is their digest."""
    target.parent.mkdir(parents=True, exist_ok=True)
    if not target.exists():
        os.link(source, target)
