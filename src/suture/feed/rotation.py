"""Keys that change. The next root is proposed, signed by as many as have to, each where his key is, and comes into
force with the next publication."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from tuf.api.metadata import Metadata, Root

from suture import whole_file
from suture.error import BadOption, NotFound
from suture.feed import key
from suture.feed.founding import ROLES, TOP
from suture.feed.key import Keys
from suture.feed.repository import Authority, Repository, as_bytes, authority
from suture.feed.settings import stamp
from suture.report.feed import FeedRole, Product


@dataclass(frozen=True)
class Proposal:
    """The next root as it stands: whose signatures (ids of keys) it has, and how many it lacks."""

    version: int
    signed: tuple[str, ...]
    missing: int


def replace_key(feed: Repository, keys: Keys, role: str, old: str, folder: Path, now: datetime) -> None:
    """A new key, made in `folder`, takes the place of `old` (its id or the beginning of it; "" where the role has one
    key). It counts from the next publication on. Raises `NotFound`, `BadOption`."""
    if role not in ROLES:
        raise BadOption(f"no role {role}", f"give one of {', '.join(ROLES)}")
    with feed.locked():
        if role in TOP:
            root = _draft(feed, now)
            gone = _chosen(root.roles[role].keyids, role, old)
            new = key.create(folder, role, keys.passphrase)
            root.revoke_key(gone, role)
            root.add_key(new, role)
            _propose(feed, Metadata(root), _with(keys, folder))
            return
        present = _owner(feed, role)
        gone = _chosen(list(present.keys), role, old)
        new = key.create(folder, role, keys.passphrase)
        kept = {i: k for i, k in present.keys.items() if i != gone}
        feed.stage_authorities({**feed.authorities(), role: Authority({**kept, new.keyid: new}, present.threshold)})


def renew_root(feed: Repository, keys: Keys, now: datetime) -> None:
    """Propose the same root with a later expiry."""
    with feed.locked():
        _propose(feed, Metadata(_draft(feed, now)), keys)


def sign(feed: Repository, keys: Keys) -> None:
    """Add the signatures of all keys at hand to the proposed root. Raises `NotFound` without one."""
    with feed.locked():
        found = feed.proposal()
        if found is None:
            raise NotFound(
                f"{feed.folder}: no new root is proposed",
                "propose one: suture feed keys --replace ROLE, or --renew-root",
            )
        _propose(feed, found, keys)


def proposal(feed: Repository) -> Proposal | None:
    """How the proposed root stands; None without one."""
    found = feed.proposal()
    if found is None:
        return None
    signed = set(found.signatures)
    rows = [root.roles["root"] for root in (feed.root().signed, found.signed)]
    return Proposal(
        found.signed.version,
        tuple(found.signatures),
        max(max(0, r.threshold - len(signed & set(r.keyids))) for r in rows),
    )


def roles(feed: Repository, keys: Keys) -> tuple[FeedRole, ...]:
    """All roles as they are in force."""
    root = feed.root().signed
    before = feed.published()
    found = [_row("root", root.version, root.expires, root.roles["root"].threshold, root.roles["root"].keyids, keys)]
    if before is None:
        return tuple(found)
    for name, one in (("targets", before.top), ("snapshot", before.snapshot), ("timestamp", before.timestamp)):
        row = root.roles[name]
        found.append(_row(name, one.signed.version, one.signed.expires, row.threshold, row.keyids, keys))
    for product in Product:
        role = before.role(product.value, before.top.signed)
        owner = authority(before.top.signed, product.value)
        if role is not None:
            found.append(_row(product.value, role.version, role.expires, owner.threshold, list(owner.keys), keys))
    return tuple(found)


def _row(name: str, version: int, expires: datetime, threshold: int, ids: Sequence[str], keys: Keys) -> FeedRole:
    return FeedRole(name, version, stamp(expires), threshold, tuple(ids), tuple(i for i in ids if i in keys.signers))


def _owner(feed: Repository, role: str) -> Authority:
    staged = feed.authorities().get(role)
    before = feed.published()
    if staged is not None:
        return staged
    if before is None:
        raise NotFound(f"{feed.folder}: nothing is published", "publish first: suture feed publish")
    return authority(before.top.signed, role)


def _draft(feed: Repository, now: datetime) -> Root:
    """The proposed root, to be changed further, or the one after the newest."""
    found = feed.proposal()
    root = copy.deepcopy((found or feed.root()).signed)
    root.version = feed.root().signed.version + 1
    root.expires = (now + feed.settings().lives["root"]).replace(microsecond=0)
    return root


def _propose(feed: Repository, root: Metadata[Root], keys: Keys) -> None:
    ids = dict.fromkeys((*feed.root().signed.roles["root"].keyids, *root.signed.roles["root"].keyids))
    for signer in keys.of(ids):
        root.sign(signer, append=True)
    whole_file.replace(feed.next_root, as_bytes(root))


def _with(keys: Keys, folder: Path) -> Keys:
    return Keys(tuple(dict.fromkeys((*keys.folders, folder))), keys.passphrase)


def _chosen(ids: Sequence[str], role: str, word: str) -> str:
    found = [i for i in ids if i.startswith(word)]
    if len(found) != 1:
        raise BadOption(
            f"{role} has {len(ids)} keys, and {len(found)} of them begin{'s' * (len(found) == 1)} with {word!r}",
            f"name one: --replace {role}=KEY, of {', '.join(i[:8] for i in ids)}",
        )
    return found[0]
