"""A feed in a folder, real patches to put into it, and hosts that fetch from it."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from http.server import ThreadingHTTPServer
from pathlib import Path

import pytest

from suture.feed import change, founding
from suture.feed.client import Client
from suture.feed.fetcher import folder_url
from suture.feed.founding import DEFAULT, Quorum
from suture.feed.key import Keys
from suture.feed.offer import offer_of
from suture.feed.publication import Publication, publish
from suture.feed.repository import Repository
from suture.feed.server import server
from suture.host.described import described
from suture.patch.file import parse_patch
from suture.patch.seal import check_seal, seal
from suture.patch.statement import Statement
from suture.report.feed import Offer, OfferState, Product
from tests.process.conftest import gcc, make_patch

OLD = "int answer(int x) { return x * 3 + 1; } int main(int c, char **v) { (void)v; return answer(c); }"
NEW = "int answer(int x) { return x * 3 + 2; }"
_SEAL = len(seal(b""))


def build_id(n: int) -> str:
    """The build-id of the nth binary."""
    return f"{n:040x}"


def variant(data: bytes, wanted: str) -> bytes:
    """The same patch for another build-id of the same length."""
    own = parse_patch(data, "x").manifest.target.build_id
    content = data[:-_SEAL].replace(own.encode(), wanted.encode())
    changed = seal(content)
    check_seal(changed, "x")
    return changed


@pytest.fixture(scope="session")
def made(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    """A real patch, by its bytes."""
    folder = tmp_path_factory.mktemp("made")
    program = gcc(folder / "answer", OLD, "-fno-inline")
    return make_patch(folder, program, NEW, {"answer": ["answer"]}).object.data


@dataclass
class Keeper:
    """Who keeps a feed. `now` may be set to another time."""

    feed: Repository
    keys: Path
    roots: tuple[Path, ...]
    made: bytes
    offers: dict[int, Offer] = field(default_factory=dict)
    now: datetime = field(default_factory=lambda: datetime.now(UTC))

    def own(self, *more: Path) -> Keys:
        return Keys((self.keys, *more))

    def add(self, n: int, *, channel: str = "delayed", fixes: tuple[str, ...] = ()) -> Offer:
        """Stage a patch for the nth binary."""
        data = variant(self.made, build_id(n))
        patch = described(parse_patch(data, "x"))
        offer = offer_of(patch, data, Product.LIBRARIES, grade="safe", trial="passed")
        offer = offer if not fixes else change_fixes(offer, fixes)
        change.stage_patch(self.feed, change.AddedPatch(offer, channel), data)
        self.offers[n] = offer
        return offer

    def withdraw(self, n: int, state: OfferState, reason: str = "it fails") -> None:
        offer = self.offers[n]
        change.stage_withdrawal(self.feed, change.Withdrawal(offer.product, offer.build_id, offer.patch, state, reason))

    def publish(self, *more: Path, on_step: Callable[[str], None] = lambda step: None) -> Publication:
        return publish(self.feed, self.own(*more), self.now, on_step=on_step)

    def offer(self, n: int) -> Offer:
        """Stage and publish."""
        found = self.add(n)
        self.publish()
        return found

    @property
    def root(self) -> bytes:
        return (self.feed.folder / "root.json").read_bytes()


def change_fixes(offer: Offer, fixes: tuple[str, ...]) -> Offer:
    from dataclasses import replace

    return replace(offer, fixes=fixes)


@dataclass
class Visitor:
    """A host that fetches. Each look is a client of its own, with what the ones before have seen."""

    folder: Path
    root: bytes | None

    def look(self, public: Path | str, *numbers: int) -> tuple[Statement, ...]:
        client = self.client(public)
        client.refresh()
        return client.statements([build_id(n) for n in numbers])

    def client(self, public: Path | str) -> Client:
        url = public if isinstance(public, str) else folder_url(public)
        client = Client(url, self.folder, self.root)
        self.root = None
        return client

    def fetch(self, public: Path | str, *numbers: int) -> list[Path]:
        client = self.client(public)
        client.refresh()
        said = client.statements([build_id(n) for n in numbers])
        return [client.download(o, self.folder / "patches")[0] for s in said for o in s.offers]


QUORUMS = {**DEFAULT, "root": Quorum(2, 3)}


@pytest.fixture
def keeper(tmp_path: Path, made: bytes) -> Keeper:
    return begin(tmp_path / "own", made)


def begin(folder: Path, made: bytes, now: datetime | None = None, quorums: Mapping[str, Quorum] = QUORUMS) -> Keeper:
    """A new feed."""
    keys, roots = folder / "keys", tuple(folder / f"root-{n}" for n in range(3))
    at = now or datetime.now(UTC)
    feed, _ = founding.found(folder / "feed", keys, roots, at, quorums=quorums)
    return Keeper(feed, keys, roots, made, now=at)


@pytest.fixture
def visitor(tmp_path: Path, keeper: Keeper) -> Visitor:
    return Visitor(tmp_path / "host", keeper.root)


@contextlib.contextmanager
def serving(own: ThreadingHTTPServer) -> Iterator[str]:
    """A web server in a thread, by its address."""
    thread = threading.Thread(target=own.serve_forever, daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{own.server_address[1]}"
    finally:
        own.shutdown()
        own.server_close()
        thread.join()


def of_folder(public: Path) -> ThreadingHTTPServer:
    return server(public, "127.0.0.1", 0)


DAYS = timedelta(days=1)
