"""Each attack on a feed, played against the real client: nothing of it is taken, and the error says what it was."""

from __future__ import annotations

import json
import shutil
import time
from collections.abc import Callable
from dataclasses import replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
from tuf.api.metadata import Metadata, MetaFile, Root, Snapshot, Targets, Timestamp

from suture.error import SutureError
from suture.feed import rotation
from suture.feed.client import Client
from suture.feed.error import Unreachable, Untrusted
from suture.feed.fetcher import Fetcher
from suture.feed.key import Keys
from suture.feed.repository import as_bytes, authority, hashed
from suture.patch import statement
from suture.report.feed import OfferState, Product
from suture.report.reason import Reason
from tests.feed.conftest import DAYS, Keeper, Visitor, begin, build_id, of_folder, serving

FAR = 1 << 30


def refused(work: Callable[[], object]) -> Reason:
    with pytest.raises(Untrusted) as told:
        work()
    assert told.value.remedy
    return told.value.reason


def copied(keeper: Keeper, to: Path) -> Path:
    """What is served now, kept by an attacker."""
    shutil.copytree(keeper.feed.public, to)
    return to


def signed(keys: Keys, role: Any, ids: list[str]) -> bytes:
    metadata = Metadata(role)
    for signer in keys.of(ids):
        metadata.sign(signer, append=True)
    return as_bytes(metadata)


def ids(keeper: Keeper, role: str) -> list[str]:
    return list(keeper.feed.root().signed.roles[role].keyids)


def test_rollback_of_everything(keeper: Keeper, visitor: Visitor, tmp_path: Path) -> None:
    keeper.offer(1)
    old = copied(keeper, tmp_path / "old")
    keeper.withdraw(1, OfferState.REVERT)
    keeper.publish()
    (said,) = visitor.look(keeper.feed.public, 1)
    assert said.offers[0].state is OfferState.REVERT
    assert refused(lambda: visitor.look(old, 1)) is Reason.FEED_ROLLED_BACK


def test_freeze(tmp_path: Path, made: bytes) -> None:
    """The feed of some days ago, held still: believed no longer than its timestamp says."""
    keeper = begin(tmp_path / "own", made)
    keeper.now -= 5 * DAYS
    keeper.offer(1)
    timestamp: Metadata[Timestamp] = Metadata.from_file(str(keeper.feed.metadata / "timestamp.json"))
    assert timestamp.signed.expires < keeper.now + 5 * DAYS
    visitor = Visitor(tmp_path / "host", keeper.root)
    assert refused(lambda: visitor.look(keeper.feed.public, 1)) is Reason.FEED_EXPIRED


def test_mix_and_match_of_snapshots(keeper: Keeper, visitor: Visitor) -> None:
    """An older snapshot behind the newest timestamp."""
    place = keeper.feed.metadata
    keeper.offer(1)
    old = (place / "2.snapshot.json").read_bytes()
    keeper.offer(2)
    (place / "3.snapshot.json").write_bytes(old)
    assert refused(lambda: visitor.look(keeper.feed.public, 1)) is Reason.FEED_ALTERED


def test_mix_and_match_of_products(keeper: Keeper, visitor: Visitor) -> None:
    """A product's older role, which does not know of the withdrawal, behind the newest snapshot."""
    place = keeper.feed.metadata
    keeper.offer(1)
    old = (place / "2.libraries.json").read_bytes()
    keeper.withdraw(1, OfferState.REVERT)
    keeper.publish()
    (place / "3.libraries.json").write_bytes(old)
    assert refused(lambda: visitor.look(keeper.feed.public, 1)) is Reason.FEED_ROLLED_BACK


def test_fast_forward_is_recovered_from_by_new_keys(keeper: Keeper, visitor: Visitor, tmp_path: Path) -> None:
    """Whoever had the keys of snapshot and timestamp has signed the highest versions, so that nothing newer can
    come."""
    keeper.offer(1)
    away = copied(keeper, tmp_path / "away")
    stolen = keeper.own()
    snapshot: Metadata[Snapshot] = Metadata.from_file(str(away / "metadata/2.snapshot.json"))
    snapshot.signed.version = FAR
    data = signed(stolen, snapshot.signed, ids(keeper, "snapshot"))
    (away / f"metadata/{FAR}.snapshot.json").write_bytes(data)
    timestamp: Metadata[Timestamp] = Metadata.from_file(str(away / "metadata/timestamp.json"))
    timestamp.signed.version, timestamp.signed.snapshot_meta = FAR, MetaFile(FAR)
    (away / "metadata/timestamp.json").write_bytes(signed(stolen, timestamp.signed, ids(keeper, "timestamp")))
    visitor.look(away, 1)

    keeper.offer(2)
    assert refused(lambda: visitor.look(keeper.feed.public, 2)) is Reason.FEED_ROLLED_BACK
    new = tmp_path / "new-keys"
    everything = Keys((keeper.keys, *keeper.roots))
    for role in ("snapshot", "timestamp"):
        rotation.replace_key(keeper.feed, everything, role, "", new, keeper.now)
    keeper.publish(new)
    (said,) = visitor.look(keeper.feed.public, 2)
    assert said.offers[0].build_id == build_id(2)
    assert refused(lambda: visitor.look(away, 1)) is Reason.FEED_SIGNATURE


class _Endless(BaseHTTPRequestHandler):
    """Serves a feed, and one file of it without end."""

    public: Path
    endless = ""
    pause = 0.0

    def do_GET(self) -> None:
        path = self.public / self.path.lstrip("/")
        if not path.is_file():
            return self.send_error(404)
        self.send_response(200)
        self.end_headers()
        self.wfile.write(path.read_bytes())
        try:
            while self.endless and self.endless in self.path:
                self.wfile.write(b" " * (1 if self.pause else 65536))
                time.sleep(self.pause)
        except OSError:
            return None
        return None

    def log_message(self, format: str, *args: object) -> None:
        pass


def endless(public: Path, name: str, pause: float = 0.0) -> ThreadingHTTPServer:
    kind = type("_E", (_Endless,), {"public": public, "endless": name, "pause": pause})
    return ThreadingHTTPServer(("127.0.0.1", 0), kind)


@pytest.mark.parametrize("name", ["timestamp", "snapshot", "targets", "libraries", "root", "patches/"])
def test_endless_data(keeper: Keeper, visitor: Visitor, tmp_path: Path, name: str) -> None:
    keeper.offer(1)
    if name == "root":  # one that the client asks for
        rotation.renew_root(keeper.feed, Keys(keeper.roots), keeper.now)
        keeper.publish()
    with serving(endless(keeper.feed.public, name)) as url:
        assert refused(lambda: visitor.fetch(url, 1)) is Reason.FEED_TOO_LONG
    assert not list((visitor.folder / "patches").glob("*")) if name == "patches/" else True


@pytest.mark.parametrize("silence", [0.3, 60.0], ids=["silence", "a byte now and then"])
def test_endless_waiting(keeper: Keeper, visitor: Visitor, silence: float) -> None:
    keeper.offer(1)
    pause = 30.0 if silence < 1 else 0.05
    start = time.monotonic()
    with serving(endless(keeper.feed.public, "timestamp", pause)) as url:
        client = Client(url, visitor.folder, visitor.root, fetcher=Fetcher(silence=silence, patience=0.5))
        with pytest.raises(Unreachable) as told:
            client.refresh()
        assert time.monotonic() - start < 10
    assert told.value.reason is Reason.FEED_UNREACHABLE


def test_another_feed_in_its_place(keeper: Keeper, visitor: Visitor, tmp_path: Path, made: bytes) -> None:
    other = begin(tmp_path / "other", made)
    other.offer(1)
    assert refused(lambda: visitor.look(other.feed.public, 1)) is Reason.FEED_SIGNATURE


@pytest.mark.parametrize("stolen", [1, 2])
def test_root_keys_stolen(keeper: Keeper, visitor: Visitor, tmp_path: Path, made: bytes, stolen: int) -> None:
    """One of three is below the threshold of two: a root that it signs is none. Two of them are the feed, so they must
    be kept apart."""
    keeper.offer(1)
    attacker = begin(tmp_path / "attacker", made)
    away = copied(keeper, tmp_path / "away")
    forged: Root = attacker.feed.root().signed
    forged.version = 2
    thief = Keys((*keeper.roots[:stolen], *attacker.roots))
    data = signed(thief, forged, [*ids(keeper, "root"), *forged.roles["root"].keyids])
    (away / "metadata/2.root.json").write_bytes(data)
    (away / "metadata/timestamp.json").write_bytes((attacker.feed.metadata / "timestamp.json").read_bytes())
    if stolen == 1:
        assert refused(lambda: visitor.look(away, 1)) is Reason.FEED_SIGNATURE
    else:
        client = visitor.client(away)
        with pytest.raises(SutureError):  # what follows from that root is not there
            client.refresh()
        known: Metadata[Root] = Metadata.from_file(str(visitor.folder / "metadata/root.json"))
        assert known.signed.version == 2


def test_a_products_key_alone_puts_nothing_on_a_host(keeper: Keeper, visitor: Visitor, tmp_path: Path) -> None:
    offer = keeper.offer(1)
    (said,) = visitor.look(keeper.feed.public, 1)
    away = copied(keeper, tmp_path / "away")
    role: Metadata[Targets] = Metadata.from_file(str(away / "metadata/2.libraries.json"))
    lie = statement.encode(replace(said, offers=(replace(offer, reason="forged", channels=said.offers[0].channels),)))
    path = statement.statement_path(Product.LIBRARIES, build_id(1))
    role.signed.targets[path] = type(role.signed.targets[path]).from_data(path, lie, ["sha256"])
    (away / "targets" / hashed(path, role.signed.targets[path].hashes["sha256"])).write_bytes(lie)
    state = keeper.feed.published()
    assert state is not None
    owner = list(authority(state.top.signed, "libraries").keys)
    role.signed.version = 3
    (away / "metadata/3.libraries.json").write_bytes(signed(keeper.own(), role.signed, owner))
    assert visitor.look(away, 1) == (said,)  # the snapshot names version 2
    (away / "metadata/2.libraries.json").write_bytes((away / "metadata/3.libraries.json").read_bytes())
    fresh = Visitor(tmp_path / "fresh", keeper.root)
    assert refused(lambda: fresh.look(away, 1)) is Reason.FEED_ROLLED_BACK


def test_the_keys_of_the_server_put_nothing_on_a_host(keeper: Keeper, visitor: Visitor, tmp_path: Path) -> None:
    """Snapshot and timestamp are signed on a machine that is on the network. Whoever has their keys can't sign for a
    product."""
    keeper.offer(1)
    role: Metadata[Targets] = Metadata.from_file(str(keeper.feed.metadata / "2.libraries.json"))
    role.signed.targets.clear()
    role.signed.version = 3
    thief = keeper.own()
    (keeper.feed.metadata / "3.libraries.json").write_bytes(signed(thief, role.signed, ids(keeper, "snapshot")))
    snapshot: Metadata[Snapshot] = Metadata.from_file(str(keeper.feed.metadata / "2.snapshot.json"))
    snapshot.signed.version = 3
    snapshot.signed.meta["libraries.json"] = MetaFile(3)
    (keeper.feed.metadata / "3.snapshot.json").write_bytes(signed(thief, snapshot.signed, ids(keeper, "snapshot")))
    timestamp: Metadata[Timestamp] = Metadata.from_file(str(keeper.feed.metadata / "timestamp.json"))
    timestamp.signed.version, timestamp.signed.snapshot_meta = 3, MetaFile(3)
    (keeper.feed.metadata / "timestamp.json").write_bytes(signed(thief, timestamp.signed, ids(keeper, "timestamp")))
    assert refused(lambda: visitor.look(keeper.feed.public, 1)) is Reason.FEED_SIGNATURE


@pytest.mark.parametrize("change", ["byte", "cut", "other"])
def test_an_altered_patch(keeper: Keeper, visitor: Visitor, change: str) -> None:
    offer, other = keeper.add(1), keeper.add(2)
    keeper.publish()
    place = keeper.feed.targets / hashed(statement.patch_path(offer), offer.sha256)
    data = bytearray(place.read_bytes())
    data[len(data) // 2] ^= 1
    wrong = {
        "byte": bytes(data),
        "cut": place.read_bytes()[:-1],
        "other": (keeper.feed.targets / hashed(statement.patch_path(other), other.sha256)).read_bytes(),
    }
    place.write_bytes(wrong[change])
    assert refused(lambda: visitor.fetch(keeper.feed.public, 1)) is Reason.FEED_ALTERED
    assert list((visitor.folder / "patches").iterdir()) == []


def test_a_signed_statement_that_names_a_patch_of_another_binary(keeper: Keeper, visitor: Visitor) -> None:
    """The feed's own mistake, signed by the right key."""
    from suture.feed import change

    other = keeper.add(2)
    wrong = replace(other, build_id=build_id(1))
    data = change.file_of(keeper.feed, other.patch).read_bytes()
    change.stage_patch(keeper.feed, change.AddedPatch(wrong, ""), data)
    keeper.publish()
    assert refused(lambda: visitor.fetch(keeper.feed.public, 1)) is Reason.FEED_ALTERED


def test_a_host_follows_over_several_roots(keeper: Keeper, visitor: Visitor, tmp_path: Path) -> None:
    """All keys change, one after the other, and a host that has seen only the first root comes along."""
    keeper.offer(1)
    early = keeper.root
    folders = [keeper.keys, *keeper.roots]
    for n, role in enumerate(["timestamp", "snapshot", "targets", "libraries", "root", "root", "root"]):
        new = tmp_path / f"new-{n}"
        old = keeper.feed.root().signed.roles["root"].keyids[0] if role == "root" else ""
        rotation.replace_key(keeper.feed, Keys(tuple(folders)), role, old, new, keeper.now)
        folders.append(new)
        keeper.publish(*folders)
        visitor.look(keeper.feed.public, 1)
    assert keeper.feed.root().signed.version == 7
    assert not set(json.loads(early)["signed"]["keys"]) & set(keeper.feed.root().signed.keys)
    late = Visitor(tmp_path / "late", early)
    (path,) = late.fetch(keeper.feed.public, 1)
    assert path.name.startswith(keeper.offers[1].patch)


def test_http_does_not_lead_to_files_of_the_host(keeper: Keeper, visitor: Visitor) -> None:
    class Sends(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(302)
            self.send_header("Location", f"file://{keeper.feed.public}{self.path}")
            self.end_headers()

        def log_message(self, format: str, *args: object) -> None:
            pass

    with serving(ThreadingHTTPServer(("127.0.0.1", 0), Sends)) as url, pytest.raises(Unreachable):
        visitor.look(url, 1)
    with serving(of_folder(keeper.feed.public)) as url:
        visitor.look(url, 1)


GARBAGE = {
    "nothing": b"",
    "cut": b"{",
    "deep": b"[" * 10_000,
    "bytes": b"\xff" * 100,
    "null": b"null",
    "no role": b'{"signed": 1e999}',
}


@pytest.mark.parametrize("data", GARBAGE)
@pytest.mark.parametrize("name", ["timestamp", "2.snapshot", "1.targets", "2.libraries", "2.root"])
def test_garbage(keeper: Keeper, visitor: Visitor, name: str, data: str) -> None:
    keeper.offer(1)
    (keeper.feed.metadata / f"{name}.json").write_bytes(GARBAGE[data])
    told = refused(lambda: visitor.look(keeper.feed.public, 1))
    assert told is Reason.FEED_ALTERED or (told is Reason.FEED_TOO_LONG and name == "2.snapshot")


@pytest.mark.parametrize("kind", ["index", "json"])
def test_garbage_instead_of_an_index_or_a_statement(keeper: Keeper, visitor: Visitor, kind: str) -> None:
    keeper.offer(1)
    for place in (keeper.feed.targets / "libraries").glob(f"*.{kind}"):
        place.write_bytes(place.read_bytes()[:-1])
    assert refused(lambda: visitor.look(keeper.feed.public, 1)) is Reason.FEED_ALTERED
