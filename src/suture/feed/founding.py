"""A new feed: its keys, its first root, its first publication, put in its place when all of it is there."""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from itertools import cycle
from pathlib import Path

from securesystemslib.signer import Key
from tuf.api.metadata import Metadata, Root

from suture import whole_file
from suture.error import NotFound
from suture.feed import key, repository, settings
from suture.feed.key import Keys
from suture.feed.publication import Publication, publish
from suture.feed.repository import Authority, Repository, as_bytes
from suture.progress import Progress, silent
from suture.report.feed import Product

TOP = ("root", "targets", "snapshot", "timestamp")
ROLES = (*TOP, *(p.value for p in Product))


@dataclass(frozen=True)
class Quorum:
    """`threshold` of `keys` keys have to sign."""

    threshold: int
    keys: int


DEFAULT = {role: Quorum(2, 3) if role == "root" else Quorum(1, 1) for role in ROLES}


def found(
    folder: Path,
    keys: Path,
    root_keys: Sequence[Path],
    now: datetime,
    *,
    quorums: Mapping[str, Quorum] = DEFAULT,
    passphrase: bytes | None = None,
    progress: Progress = silent,
) -> tuple[Repository, Publication]:
    """A feed in `folder`, which must not be there. Keys of the root are made in the folders `root_keys`, by turns, the
    others in `keys`.

    Raises `BadOption`, `NotFound`.
    """
    repository.refuse_existing(folder)
    progress("making keys")
    made: dict[str, dict[str, Key]] = {}
    for role in ROLES:
        places = cycle(root_keys if role == "root" else [keys])
        fresh = [key.create(next(places), role, passphrase) for _ in range(quorums[role].keys)]
        made[role] = {k.keyid: k for k in fresh}
    own = Keys(tuple(dict.fromkeys((*root_keys, keys))), passphrase)
    try:
        folder.absolute().parent.mkdir(parents=True, exist_ok=True)
        scratch = Path(tempfile.mkdtemp(dir=folder.absolute().parent, prefix=f".{folder.name}-"))
    except OSError as problem:
        raise NotFound(f"{folder}: {problem.strerror}", "give a place that you may write to") from problem
    try:
        feed = Repository(scratch)
        (scratch / settings.FILE).write_text(settings.default())
        _first_root(feed, own, made, quorums, now)
        feed.stage_authorities({p.value: Authority(made[p.value], quorums[p.value].threshold) for p in Product})
        published = publish(feed, own, now, progress=progress)
        os.chmod(scratch, 0o755)
        if folder.is_dir():  # empty
            folder.rmdir()
        os.rename(scratch, folder)
    except BaseException:
        shutil.rmtree(scratch, ignore_errors=True)
        raise
    return Repository(folder), published


def _first_root(
    feed: Repository, own: Keys, made: Mapping[str, Mapping[str, Key]], quorums: Mapping[str, Quorum], now: datetime
) -> None:
    root = Root(expires=(now + feed.settings().lives["root"]).replace(microsecond=0), consistent_snapshot=True)
    for role in TOP:
        for one in made[role].values():
            root.add_key(one, role)
        root.roles[role].threshold = quorums[role].threshold
    signed = Metadata(root)
    for signer in own.of(root.roles["root"].keyids):
        signed.sign(signer, append=True)
    for path in (feed.metadata / "1.root.json", feed.folder / "root.json"):
        whole_file.replace(path, as_bytes(signed))
