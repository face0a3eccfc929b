"""A host's side of a feed: what it has for these binaries, verified, and no more downloaded than that takes.

All that decides whether to believe a file is python-tuf's: signatures and thresholds, expiry, versions that only rise.
A client keeps what it has seen in a folder of its own, which is what makes an older state visible as such. It needs no
rights, and changes nothing else.
"""

from __future__ import annotations

import fcntl
import os
import tempfile
from collections.abc import Collection, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

from tuf.api import exceptions
from tuf.api.metadata import Metadata, TargetFile, Targets
from tuf.ngclient import Updater, UpdaterConfig

from suture.error import BadOption, NotFound, Refused
from suture.feed import index
from suture.feed.error import Unreachable, Untrusted
from suture.feed.fetcher import Fetcher
from suture.feed.index import BadIndex
from suture.patch import statement
from suture.patch.file import parse_patch
from suture.patch.statement import BadStatement, Statement
from suture.report.feed import Offer, Product
from suture.report.patch import PatchKind
from suture.report.reason import Reason

_LIMITS = UpdaterConfig(
    max_root_rotations=256,
    root_max_length=1 << 19,
    timestamp_max_length=1 << 14,
    snapshot_max_length=1 << 22,
    targets_max_length=1 << 22,
)


@dataclass(frozen=True)
class FeedVersion:
    """The state of the feed that a client has. `expires`: until when it may be believed."""

    version: int
    expires: datetime


@dataclass(frozen=True)
class FeedAnswer:
    """What a feed says, and why some products could not be asked."""

    statements: tuple[Statement, ...]
    problems: tuple[Untrusted, ...]


@dataclass(frozen=True)
class ShownStatement:
    """A statement with the signed metadata that leads to it, as it was downloaded: `roots` oldest first, `chain` from
    timestamp to the role that names it."""

    roots: tuple[str, ...]
    chain: tuple[str, ...]
    said: str


def last_seen(folder: Path) -> FeedVersion | None:
    """What a client has seen last, without asking the feed: how old it is when the feed cannot be reached. None for
    nothing."""
    try:
        found: Metadata[Any] = Metadata.from_file(str(folder / "metadata/timestamp.json"))
    except (exceptions.StorageError, exceptions.RepositoryError):
        return None
    return FeedVersion(found.signed.version, found.signed.expires)


class Client:
    """What `url` has. `folder` is kept from one time to the next; `root` is the feed's root.json, got in a way that is
    trusted, and needed the first time. Raises `BadOption`, `Untrusted`, `NotFound`."""

    def __init__(self, url: str, folder: Path, root: bytes | None = None, *, fetcher: Fetcher | None = None) -> None:
        self.url = url.rstrip("/")
        self.folder = folder
        self.fetcher = fetcher or Fetcher()
        self._targets = folder / "targets"
        metadata = folder / "metadata"
        if root is None and not (metadata / "root.json").exists():
            raise BadOption(
                f"{folder}: no root.json of the feed is known, so nothing that it says can be believed",
                "get root.json from the feed's keeper in a way that you trust, and give it with --root FILE",
            )
        with self._told():
            metadata.mkdir(parents=True, exist_ok=True)
            self._targets.mkdir(exist_ok=True)
            self._updater = Updater(
                str(metadata), f"{self.url}/metadata/", str(self._targets), f"{self.url}/targets/",
                fetcher=self.fetcher, config=_LIMITS, bootstrap=root,
            )  # fmt: skip

    @contextmanager
    def alone(self) -> Iterator[None]:
        """Nobody else works with the folder meanwhile. Raises `Refused` while somebody does."""
        with open(self.folder / ".lock", "w") as handle:
            try:
                fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError as problem:
                raise Refused(
                    f"{self.folder}: another suture fetches into it", "wait until it has ended", reason=Reason.BUSY
                ) from problem
            yield

    def refresh(self) -> FeedVersion:
        """The newest state, or an error; once for each client. Raises `Untrusted`, `Unreachable`."""
        with self._told():
            self._updater.refresh()
        found = last_seen(self.folder)
        assert found is not None
        return found

    def statements(
        self, build_ids: Iterable[str], products: Iterable[Product] = tuple(Product)
    ) -> tuple[Statement, ...]:
        """What the feed says of these build-ids, those that it says nothing of left out. Raises `Untrusted`,
        `Unreachable`."""
        wanted = sorted({b for b in build_ids if statement.is_build_id(b)})
        found = []
        for product in products:
            known = self._index(product)
            found += [self._statement(product, b) for b in wanted if index.fingerprint(b) in known]
        return tuple(s for s in found if s is not None)

    def ask(self, build_ids: Collection[str]) -> FeedAnswer:
        """What the feed says of these build-ids. One product whose keeper is late, or whose files are not what was
        signed, holds no other up. Raises `Unreachable`."""
        said: list[Statement] = []
        problems: list[Untrusted] = []
        for product in Product:
            try:
                said += self.statements(build_ids, [product])
            except Untrusted as problem:
                problems.append(problem)
        return FeedAnswer(tuple(said), tuple(problems))

    def shown(self, said: Statement) -> ShownStatement:
        """What shows to somebody else that the feed's keys have signed a statement; after `statements`. Raises
        `Untrusted`, `Unreachable`, `NotFound`."""
        path = statement.statement_path(said.product, said.build_id)
        data = self._file(path)
        assert data is not None
        metadata = self.folder / "metadata"
        with self._told():
            roots = sorted((metadata / "root_history").glob("*.root.json"), key=lambda p: int(p.name.partition(".")[0]))
            product: Metadata[Targets] = Metadata.from_file(str(metadata / f"{said.product.value}.json"))
            bins = product.signed.delegations.succinct_roles if product.signed.delegations else None
            names = ("timestamp", "snapshot", "targets", said.product.value)
            chain = (*names, bins.get_role_for_target(path)) if bins else names
            return ShownStatement(
                tuple(r.read_text() for r in roots),
                tuple((metadata / f"{name}.json").read_text() for name in chain),
                data.decode(),
            )

    def download(self, offer: Offer, folder: Path) -> tuple[Path, bool]:
        """The patch's file in a folder, verified, and whether it is new there. Raises `Untrusted`, `Unreachable`,
        `BadPatch`."""
        path = folder / statement.file_name(offer)
        target = TargetFile(offer.bytes, {"sha256": offer.sha256}, statement.patch_path(offer))
        with self._told():
            if self._updater.find_cached_target(target, str(path)):
                return path, False
            folder.mkdir(parents=True, exist_ok=True)
            handle, scratch = tempfile.mkstemp(dir=folder, prefix=".fetching-")
            os.close(handle)
            try:
                self._updater.download_target(target, scratch)
                _check(Path(scratch).read_bytes(), offer)
                os.chmod(scratch, 0o644)
                os.replace(scratch, path)
            except BaseException:
                os.unlink(scratch)
                raise
        return path, True

    def _index(self, product: Product) -> frozenset[int]:
        data = self._file(statement.index_path(product))
        try:
            return index.unpack(data) if data is not None else frozenset()
        except BadIndex as problem:
            raise _altered(f"{self.url}: {product.value}: {problem}") from problem

    def _statement(self, product: Product, build_id: str) -> Statement | None:
        path = statement.statement_path(product, build_id)
        data = self._file(path)
        try:
            return statement.decode(data, product, build_id) if data is not None else None
        except BadStatement as problem:
            raise _altered(f"{self.url}: {path}: {problem}") from problem

    def _file(self, path: str) -> bytes | None:
        """A small file that the metadata names, from the folder where it is there already."""
        with self._told():
            target = self._updater.get_targetinfo(path)
            if target is None:
                return None
            place = self._updater.find_cached_target(target) or self._updater.download_target(target)
            return Path(place).read_bytes()

    @contextmanager
    def _told(self) -> Iterator[None]:
        """Errors of python-tuf as ours."""
        try:
            yield
        except exceptions.ExpiredMetadataError as problem:
            raise Untrusted(
                f"{self.url}: {problem}: its keeper has not renewed it, or somebody holds newer states back",
                "compare the clock of this host (date); look whether another mirror has a newer state; the keeper"
                " renews it with: suture feed publish",
                reason=Reason.FEED_EXPIRED,
            ) from problem
        except exceptions.BadVersionNumberError as problem:
            raise Untrusted(
                f"{self.url}: older than what it has said before ({problem})",
                "look at another mirror, or ask the feed's keeper: a feed never goes back",
                reason=Reason.FEED_ROLLED_BACK,
            ) from problem
        except exceptions.UnsignedMetadataError as problem:
            raise Untrusted(
                f"{self.url}: not signed by the keys that this host trusts ({problem})",
                "check the address; if the feed was begun anew, get its root.json in a way that you trust, and fetch"
                " into a new folder with --root FILE",
                reason=Reason.FEED_SIGNATURE,
            ) from problem
        except exceptions.DownloadLengthMismatchError as problem:
            raise Untrusted(
                f"{self.url}: a file is longer than it may be ({problem})", _MIRROR, reason=Reason.FEED_TOO_LONG
            ) from problem
        except (exceptions.RepositoryError, exceptions.LengthOrHashMismatchError) as problem:
            raise _altered(f"{self.url}: {problem}") from problem
        except exceptions.DownloadError as problem:
            raise Unreachable(
                f"{self.url}: cannot be fetched ({problem.__cause__ or problem})",
                "check the address, the network and the proxy; what was fetched before stays in force",
                reason=Reason.FEED_UNREACHABLE,
            ) from problem
        except OSError as problem:
            raise NotFound(
                f"{problem.filename or self.folder}: {problem.strerror}",
                "give folders that this user may write to, with room left",
            ) from problem


_MIRROR = "look at another mirror, or ask the feed's keeper"


def _altered(what: str) -> Untrusted:
    return Untrusted(f"{what}: not what the feed's keys have signed", _MIRROR, reason=Reason.FEED_ALTERED)


def _check(data: bytes, offer: Offer) -> None:
    """A signed file is the file that was signed; whether it is what the statement says of it is asked here."""
    if offer.kind is not PatchKind.PROCESS:
        return
    found = parse_patch(data, statement.file_name(offer))
    if found.id != offer.patch or found.manifest.target.build_id != offer.build_id:
        raise _altered(f"{statement.patch_path(offer)}: for {found.manifest.target.build_id}, not for {offer.build_id}")
