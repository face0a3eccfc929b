"""One publication: what is staged goes in, what is about to expire is signed anew, and all of it comes into force at
once.

Every file gets a name that no host has asked for yet; the last step puts timestamp.json in the place of the old one.
Killed before it, hosts see the old state, killed after it the new one, and the next publication does the rest.

Where keys of the top roles change, the old and the new key sign together, and the new root comes into force last: the
state is then valid under the old root and under the new one, whatever a host has read before.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

from tuf.api.metadata import (
    DelegatedRole,
    Delegations,
    Metadata,
    MetaFile,
    Role,
    Root,
    Snapshot,
    TargetFile,
    Targets,
    Timestamp,
)

from suture import whole_file
from suture.error import NotFound
from suture.feed import change, repository
from suture.feed.change import AddedPatch, Staged, Withdrawal
from suture.feed.error import BadFeed, NoKey
from suture.feed.key import Keys
from suture.feed.pruning import prune
from suture.feed.repository import Authority, Published, Repository, as_bytes, authority, hashed
from suture.feed.settings import Settings, stamp
from suture.feed.shelf import Shelf
from suture.patch import statement
from suture.progress import Progress, silent
from suture.report.feed import Offer, Product

_TOP = ("targets", "snapshot", "timestamp")


@dataclass(frozen=True)
class Publication:
    """What was published. `roles` were signed anew; without any there was nothing to do. `notes` for the keeper."""

    version: int
    added: tuple[Offer, ...]
    withdrawn: tuple[Offer, ...]
    roles: tuple[str, ...]
    notes: tuple[str, ...]


@dataclass
class _NextState:
    """The roles of the next state as they are put together."""

    feed: Repository
    settings: Settings
    keys: Keys
    now: datetime
    root: Root
    successor: Root | None
    before: Published | None
    shelves: dict[Product, Shelf] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)

    @property
    def newest_root(self) -> Root:
        return self.successor or self.root


def publish(
    feed: Repository,
    keys: Keys,
    now: datetime,
    *,
    on_step: Callable[[str], None] = silent,
    progress: Progress = silent,
) -> Publication:
    """Publish what is staged and renew what half of its time is over for. `on_step` is called before each change of
    the disk.

    Raises `BadFeed`, `NoKey`, `BadSettings`, `Refused`; nothing is published then.
    """
    with feed.locked():
        staged = change.staged(feed)
        successor = feed.successor()
        work = _NextState(
            feed,
            feed.settings(),
            keys,
            now,
            feed.root().signed,
            successor.signed if successor else None,
            feed.published(),
        )
        progress(f"working in {len(staged.added)} patches and {len(staged.withdrawn)} withdrawals")
        added, withdrawn = _take_in(work, staged)
        roles = _delegated(work)
        top = _top(work)
        if top is not None:
            roles["targets"] = top
        signed = _sign_all(work, roles, progress)
        if signed:
            progress(f"writing {len(signed)} files of metadata")
            _put_in_force(work, staged, signed, on_step)
        _finish(work, staged, on_step)
        last = feed.published()
        assert last is not None
        on_step("prune")
        prune(last, now)
        names = (*(["root"] if successor else []), *signed)
        return Publication(last.timestamp.signed.version, added, withdrawn, names, tuple(work.notes))


def _take_in(work: _NextState, staged: Staged) -> tuple[tuple[Offer, ...], tuple[Offer, ...]]:
    """The changes in the statements that they concern."""
    by_statement: dict[tuple[Product, str], list[AddedPatch | Withdrawal]] = {}
    for one in staged.added:
        by_statement.setdefault((one.offer.product, one.offer.build_id), []).append(one)
    for gone in staged.withdrawn:
        by_statement.setdefault((gone.product, gone.build_id), []).append(gone)
    added, withdrawn = [], []
    for (product, build_id), changes in sorted(by_statement.items(), key=lambda row: (row[0][0].value, row[0][1])):
        shelf = _shelf(work, product)
        said = shelf.statement(build_id)
        for each in changes:
            if isinstance(each, AddedPatch):
                offer = _timed(work, each, said)
                if each.alone:
                    offer = replace(offer, replaces=tuple(o.patch for o in said.offers if o.patch != offer.patch))
                said = statement.add(said, offer)
                added.append(offer)
            else:
                said = _withdraw(work, said, each)
                withdrawn += [o for o in said.offers if o.patch == each.patch]
        shelf.put(said)
    return tuple(added), tuple(withdrawn)


def _timed(work: _NextState, added: AddedPatch, said: statement.Statement) -> Offer:
    """A patch that is there already keeps its times, unless it is to reach a channel sooner."""
    known = next((o.channels for o in said.offers if o.patch == added.offer.patch), None)
    if known is not None and not added.channel:
        return replace(added.offer, channels=known)
    return replace(added.offer, channels=work.settings.due(work.now, added.channel))


def _withdraw(work: _NextState, said: statement.Statement, one: Withdrawal) -> statement.Statement:
    if not any(o.patch == one.patch for o in said.offers):
        raise NotFound(
            f"the feed has no patch {one.patch} for {one.build_id}",
            f"take {work.feed.staged}/withdraw-{one.patch}.json away",
        )
    return statement.withdraw(said, one.patch, one.state, one.reason, stamp(work.now), one.held_with)


def _shelf(work: _NextState, product: Product) -> Shelf:
    if product not in work.shelves:
        staged = work.feed.authorities().get(product.value)
        before = work.before
        owner = staged or authority(before.top.signed if before else _no_parent(work), product.value)
        read: Callable[[TargetFile], bytes] = before.read if before else _nothing_to_read
        work.shelves[product] = Shelf(
            product, owner, before.role if before else None, before.top.signed if before else None, read
        )
    return work.shelves[product]


def _no_parent(work: _NextState) -> Targets:
    raise BadFeed(
        f"{work.feed.folder}: nothing is published, and no keys of products are staged",
        "begin a new feed: suture feed init",
    )


def _nothing_to_read(target: TargetFile) -> bytes:
    raise AssertionError(target.path)


def _delegated(work: _NextState) -> dict[str, Targets]:
    """The roles of products that have to be signed."""
    forced = set(work.feed.authorities())
    renewed = {p for p in Product if p.value in forced or _is_to_be_renewed(work, p)}
    for product in Product:
        if work.before is None or product in renewed:
            _shelf(work, product)
    roles: dict[str, Targets] = {}
    for product, shelf in work.shelves.items():
        if product in renewed:
            for name in (product.value, *shelf.bins()):
                shelf.touch(name)
        shelf.settle()
        roles |= shelf.touched
    return roles


def _is_to_be_renewed(work: _NextState, product: Product) -> bool:
    """Bins are signed when their product's role is, or later: it expires first."""
    if work.before is None:
        return False
    parent = work.before.top.signed
    role = work.before.role(product.value, parent)
    return role is not None and _is_due(work, product.value, role, authority(parent, product.value), "products")


def _is_due(work: _NextState, name: str, role: Targets, owner: Authority, life: str) -> bool:
    """Whether half of its time is over. Where the keys are not at hand it is left as it is, and the keeper is told."""
    if role.expires - work.now >= work.settings.lives[life] / 2:
        return False
    if len(work.keys.of(owner.keys)) >= owner.threshold:
        return True
    work.notes.append(f"{name} expires at {stamp(role.expires)}: publish once with its private keys before that")
    return False


def _top(work: _NextState) -> Targets | None:
    """The targets role, where it has to be signed: it names the products' keys, and nothing else."""
    before = work.before
    found = before.top.signed if before else Targets(delegations=Delegations({}, {}))
    owners = work.feed.authorities()
    for name, owner in owners.items():
        _delegate(found, name, owner)
    row = work.newest_root.roles["targets"]
    own = Authority({i: work.newest_root.keys[i] for i in row.keyids}, row.threshold)
    if before is None or owners or _changes_keys(work, "targets") or _is_due(work, "targets", found, own, "targets"):
        return found
    return None


def _delegate(top: Targets, name: str, owner: Authority) -> None:
    assert top.delegations is not None and top.delegations.roles is not None
    top.delegations.roles[name] = DelegatedRole(name, list(owner.keys), owner.threshold, True, [f"{name}/*"])
    kept = {i for role in top.delegations.roles.values() for i in role.keyids}
    top.delegations.keys = {i: k for i, k in {**top.delegations.keys, **owner.keys}.items() if i in kept}


def _changes_keys(work: _NextState, role: str) -> bool:
    return work.successor is not None and set(work.successor.roles[role].keyids) != set(work.root.roles[role].keyids)


def _sign_all(work: _NextState, roles: dict[str, Targets], progress: Progress) -> dict[str, Metadata[Any]]:
    """All of the new state by role; none where nothing changes."""
    before, lives = work.before, work.settings.lives
    signed: dict[str, Metadata[Any]] = {}
    progress(f"signing {len(roles)} roles")
    for name, role in roles.items():
        role.version = (before.version(name) if before else 0) + 1
        role.expires = _until(work.now, lives["targets" if name == "targets" else "products"])
        signed[name] = _sign(work, name, role)
    old = before.snapshot.signed if before else Snapshot(meta={})
    due = before is None or old.expires - work.now < lives["snapshot"] / 2 or _changes_keys(work, "snapshot")
    if roles or due:
        meta = {**old.meta, **{f"{name}.json": MetaFile(one.signed.version) for name, one in signed.items()}}
        snapshot = Snapshot(old.version + 1 if before else 1, expires=_until(work.now, lives["snapshot"]), meta=meta)
        signed["snapshot"] = _sign(work, "snapshot", snapshot)
    if "snapshot" in signed or before is None or _needs_timestamp(work, before):
        new: Metadata[Any] = signed["snapshot"] if before is None or "snapshot" in signed else before.snapshot
        timestamp = Timestamp(
            before.timestamp.signed.version + 1 if before else 1,
            expires=_until(work.now, lives["timestamp"]),
            snapshot_meta=MetaFile.from_data(new.signed.version, as_bytes(new), ["sha256"]),
        )
        signed["timestamp"] = _sign(work, "timestamp", timestamp)
    return signed


def _needs_timestamp(work: _NextState, before: Published) -> bool:
    left = before.timestamp.signed.expires - work.now
    return left < work.settings.lives["timestamp"] / 2 or _changes_keys(work, "timestamp")


def _until(now: datetime, life: timedelta) -> datetime:
    return (now + life).replace(microsecond=0)


def _sign(work: _NextState, name: str, role: Targets | Snapshot | Timestamp) -> Metadata[Any]:
    """Signed by all keys at hand that may. Raises `NoKey` where those are too few."""
    signed: Metadata[Any] = Metadata(role)
    rows = _owners(work, name)
    for signer in work.keys.of(dict.fromkeys(i for row in rows for i in row.keyids)):
        signed.sign(signer, append=True)
    has = set(signed.signatures)
    for row in rows:
        missing = row.threshold - len(has & set(row.keyids))
        if missing > 0 and row is rows[-1]:
            raise NoKey(
                f"{name}: {missing} more of the private keys {', '.join(i[:8] for i in row.keyids)} needed to sign it",
                "give the folders where they are, each with --keys DIR",
            )
        if missing > 0:
            work.notes.append(
                f"{name} is signed by its new key alone, as the old one is not at hand: a host that reads it before it"
                " has read the new root is told that the signature is wrong, and does better the next time"
            )
    return signed


def _owners(work: _NextState, name: str) -> list[Role]:
    """Whose signatures a role needs; the last of them are those that count from now on."""
    if name in _TOP:
        return [root.roles[name] for root in (work.root, work.successor) if root is not None]
    product = next(p for p in Product if name == p.value or name.startswith(f"{p.value}-"))
    owner = work.shelves[product].owner
    return [Role(list(owner.keys), owner.threshold)]


def _put_in_force(
    work: _NextState, staged: Staged, signed: dict[str, Metadata[Any]], on_step: Callable[[str], None]
) -> None:
    feed = work.feed
    written: list[Path] = []
    for one in staged.added:
        on_step(f"link patch {one.offer.patch}")
        written.append(feed.targets / hashed(statement.patch_path(one.offer), one.offer.sha256))
        change.link(change.file_of(feed, one.offer.patch), written[-1])
    metadata = ((f"{m.signed.version}.{n}.json", as_bytes(m)) for n, m in signed.items() if n != "timestamp")
    for place, rows in ((feed.targets, _files(work.shelves.values())), (feed.metadata, metadata)):
        for name, data in rows:
            on_step(f"write {name}")
            written.append(place / name)
            whole_file.replace(written[-1], data)
    on_step("wait for the disk")
    repository.settle(written)
    on_step("write timestamp")
    whole_file.replace(feed.metadata / "timestamp.json", as_bytes(signed["timestamp"]))
    repository.settle([feed.metadata / "timestamp.json"])


def _files(shelves: Iterable[Shelf]) -> Iterable[tuple[str, bytes]]:
    return (row for shelf in shelves for row in shelf.files.items())


def _finish(work: _NextState, staged: Staged, on_step: Callable[[str], None]) -> None:
    """After it is in force: the root, the keeper's own copies, and what was staged."""
    feed = work.feed
    if work.successor is not None:
        data = feed.next_root.read_bytes()
        on_step("write root")
        whole_file.replace(feed.metadata / f"{work.successor.version}.root.json", data)
        on_step("keep root")
        whole_file.replace(feed.folder / "root.json", data)
    on_step("keep timestamp")
    whole_file.replace(feed.folder / "timestamp.json", (feed.metadata / "timestamp.json").read_bytes())
    on_step("drop what was staged")
    change.drop(staged.paths)
    if feed.proposal() is None:
        feed.next_root.unlink(missing_ok=True)
    feed.next_keys.unlink(missing_ok=True)
