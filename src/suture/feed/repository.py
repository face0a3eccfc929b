"""The folder of a feed: what is served (`public/`), what is to come (`staged/`), and what its keeper trusts.

    feed.toml         how it is kept
    root.json         the newest root; timestamp.json the newest state: what lies in public/ is compared with these
    staged/           patches, withdrawals and keys that the next publication takes in
    public/metadata/  VERSION.ROLE.json and timestamp.json
    public/targets/   files by their SHA-256: patches, statements, indexes

The web server may write to nothing here; should it, or anybody else, change public/, then the signatures are wrong
and the next publication says so rather than sign it.
"""

from __future__ import annotations

import fcntl
import json
import os
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Any

from securesystemslib.signer import Key
from tuf.api.exceptions import LengthOrHashMismatchError, RepositoryError, UnsignedMetadataError
from tuf.api.metadata import Metadata, Root, Snapshot, TargetFile, Targets, Timestamp
from tuf.api.serialization import DeserializationError
from tuf.api.serialization.json import JSONSerializer

from suture import whole_file
from suture.error import BadOption, Refused
from suture.feed import settings
from suture.feed.error import BadFeed
from suture.report.reason import Reason

_CHECK = (
    "suture feed check tells what is wrong; take the folder back from a copy, or begin a new feed: suture feed init"
)
PATIENCE = 60.0  # seconds
_PAUSE = 0.1
_MANY = 256  # files; to wait for each of more takes longer than to wait for the whole disk
_SERIALIZER = JSONSerializer(compact=True)


def as_bytes(metadata: Metadata[Any]) -> bytes:
    """Metadata as it is written: JSON without blanks."""
    return metadata.to_bytes(_SERIALIZER)


def settle(paths: Sequence[Path]) -> None:
    """Wait until files and their names are on the disk."""
    if len(paths) > _MANY:
        os.sync()
        return
    for path in (*paths, *dict.fromkeys(p.parent for p in paths)):
        whole_file.settle(path)


def hashed(path: str, sha256: str) -> str:
    """Where a file lies below public/targets: its name with the digest in front."""
    folder, slash, name = path.rpartition("/")
    return f"{folder}{slash}{sha256}.{name}"


@dataclass(frozen=True)
class Authority:
    """Who signs a delegated role."""

    keys: dict[str, Key]
    threshold: int

    def as_json(self) -> dict[str, Any]:
        return {"threshold": self.threshold, "keys": {i: k.to_dict() for i, k in self.keys.items()}}

    @classmethod
    def of_json(cls, raw: dict[str, Any]) -> Authority:
        return cls({i: Key.from_dict(i, dict(k)) for i, k in raw["keys"].items()}, int(raw["threshold"]))


@dataclass(frozen=True)
class Published:
    """The state that is served."""

    metadata: Path
    targets: Path
    timestamp: Metadata[Timestamp]
    snapshot: Metadata[Snapshot]
    top: Metadata[Targets]
    known: dict[str, Targets | None] = field(default_factory=dict, repr=False)

    def version(self, role: str) -> int:
        """0 for a role that is not there."""
        meta = self.snapshot.signed.meta.get(f"{role}.json")
        return meta.version if meta else 0

    def role(self, name: str, parent: Targets) -> Targets | None:
        """A delegated role, its signatures checked; read once. None when it is not there; raises `BadFeed`."""
        if name not in self.known:
            self.known[name] = self._role(name, parent)
        return self.known[name]

    def _role(self, name: str, parent: Targets) -> Targets | None:
        version = self.version(name)
        if not version:
            return None
        found: Metadata[Targets] = _load(self.metadata / f"{version}.{name}.json")
        _verify(lambda: parent.verify_delegate(name, found.signed_bytes, found.signatures), self.metadata, name)
        if found.signed.version != version:
            raise BadFeed(f"{self.metadata}: {name} has version {found.signed.version}, not {version}", _CHECK)
        return found.signed

    def read(self, target: TargetFile) -> bytes:
        """A file that the metadata names. Raises `BadFeed`."""
        path = self.targets / hashed(target.path, target.hashes["sha256"])
        try:
            data = path.read_bytes()
            target.verify_length_and_hashes(data)
        except (OSError, LengthOrHashMismatchError) as problem:
            raise BadFeed(f"{path}: missing, or not what the metadata says", _CHECK) from problem
        return data


@dataclass(frozen=True)
class Repository:
    """A feed's folder."""

    folder: Path

    @property
    def public(self) -> Path:
        return self.folder / "public"

    @property
    def metadata(self) -> Path:
        return self.public / "metadata"

    @property
    def targets(self) -> Path:
        return self.public / "targets"

    @property
    def staged(self) -> Path:
        return self.folder / "staged"

    @property
    def next_root(self) -> Path:
        return self.staged / "root.json"

    @property
    def next_keys(self) -> Path:
        return self.staged / "keys.json"

    def check(self) -> None:
        """Raises `BadFeed` for a folder that is none."""
        if not (self.folder / settings.FILE).is_file() or not (self.folder / "root.json").is_file():
            raise BadFeed(f"{self.folder}: no feed", "make one: suture feed init --help")

    @contextmanager
    def locked(self) -> Iterator[None]:
        """One at a time works on the feed; the others wait for a minute. Raises `BadFeed`, and `Refused` after it."""
        self.check()
        with open(self.folder / ".lock", "w") as handle:
            end = time.monotonic() + PATIENCE
            while not _lock(handle):
                if time.monotonic() > end:
                    raise Refused(
                        f"{self.folder}: another suture works on this feed",
                        "wait until it has ended",
                        reason=Reason.BUSY,
                    )
                time.sleep(_PAUSE)
            yield

    def settings(self) -> settings.Settings:
        """Raises `BadSettings`."""
        return settings.load(self.folder / settings.FILE)

    def root(self) -> Metadata[Root]:
        """The newest root, which the keeper trusts. Raises `BadFeed`."""
        return _load(self.folder / "root.json")

    def published(self) -> Published | None:
        """The state that is served, its signatures checked; None before the first publication. Raises `BadFeed`."""
        if not (self.metadata / "timestamp.json").exists():
            return None
        successor = self.successor()  # a publication that was interrupted may have signed for it alone
        found = read_state(self.public, [self.root().signed, *([successor.signed] if successor else [])])
        own = self.folder / "timestamp.json"
        if own.exists() and _load(own).signed.version > found.timestamp.signed.version:
            raise BadFeed(f"{self.metadata}: an older state than the one published last", _CHECK)
        return found

    def proposal(self) -> Metadata[Root] | None:
        """The root that is to follow the newest, signed by whoever has signed it so far."""
        found: Metadata[Root] | None = _load(self.next_root) if self.next_root.exists() else None
        return found if found and found.signed.version == self.root().signed.version + 1 else None

    def successor(self) -> Metadata[Root] | None:
        """The next root, once enough keys of the newest and of itself have signed it."""
        found = self.proposal()
        if found is None:
            return None
        try:
            for root in (self.root().signed, found.signed):
                root.verify_delegate("root", found.signed_bytes, found.signatures)
        except UnsignedMetadataError:
            return None
        return found

    def authorities(self) -> dict[str, Authority]:
        """Staged changes of who signs for a product."""
        if not self.next_keys.exists():
            return {}
        raw = json.loads(self.next_keys.read_bytes())
        return {name: Authority.of_json(row) for name, row in raw.items()}

    def stage_authorities(self, rows: dict[str, Authority]) -> None:
        whole_file.replace(self.next_keys, json.dumps({name: row.as_json() for name, row in rows.items()}).encode())


def read_state(public: Path, roots: list[Root]) -> Published:
    """The state in a folder that is served, signed by the keys of one of these roots. Raises `BadFeed`."""
    place = public / "metadata"
    timestamp: Metadata[Timestamp] = _load(place / "timestamp.json")
    _verify_any(roots, "timestamp", timestamp, place)
    meta = timestamp.signed.snapshot_meta
    snapshot: Metadata[Snapshot] = _load(place / f"{meta.version}.snapshot.json")
    _verify_any(roots, "snapshot", snapshot, place)
    top: Metadata[Targets] = _load(place / f"{snapshot.signed.meta['targets.json'].version}.targets.json")
    _verify_any(roots, "targets", top, place)
    return Published(place, public / "targets", timestamp, snapshot, top)


def _lock(handle: IO[str]) -> bool:
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def authority(parent: Targets, role: str) -> Authority:
    """Who signs a role by its parent."""
    assert parent.delegations is not None and parent.delegations.roles is not None
    row = parent.delegations.roles[role]
    return Authority({i: parent.delegations.keys[i] for i in row.keyids}, row.threshold)


def _load(path: Path) -> Metadata[Any]:
    try:
        return Metadata.from_bytes(path.read_bytes())
    except (OSError, DeserializationError) as problem:
        raise BadFeed(f"{path}: missing or damaged", _CHECK) from problem


def _verify(check: Callable[[], None], place: Path, name: str) -> None:
    try:
        check()
    except (RepositoryError, ValueError) as problem:
        raise BadFeed(f"{place}: {name} is not signed by the feed's keys: somebody has changed it", _CHECK) from problem


def _verify_any(roots: list[Root], name: str, one: Metadata[Any], place: Path) -> None:
    """By one of these roots."""
    for root in roots:
        try:
            root.verify_delegate(name, one.signed_bytes, one.signatures)
            return
        except UnsignedMetadataError:
            continue
    raise BadFeed(f"{place}: {name} is not signed by the feed's keys: somebody has changed it", _CHECK)


def refuse_existing(folder: Path) -> None:
    """Raises `BadOption` where something is already."""
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise BadOption(f"{folder}: is there already", "give a folder that is not there yet")
