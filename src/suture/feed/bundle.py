"""A feed carried to where no network leads: one tar file with the state that is served, or the part of it that some
build-ids need.

It needs no signature of its own, as all in it is signed. What is imported is checked as a host checks it, so it has to
be newer than what was imported before and not expired, and it is checked once more by each host that reads it.
"""

from __future__ import annotations

import os
import re
import shutil
import tarfile
import tempfile
from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path

from tuf.api.metadata import Metadata, Root

from suture.error import NotFound
from suture.feed import inspection, repository
from suture.feed.client import Client, FeedVersion
from suture.feed.error import BadFeed, Untrusted
from suture.feed.fetcher import folder_url
from suture.feed.repository import Repository
from suture.progress import Progress, silent
from suture.report.feed import Offer
from suture.report.reason import Reason

_NAME = re.compile(r"(metadata|targets(/[a-z]+)?)/[0-9A-Za-z][0-9A-Za-z._-]*")
_MOST_FILES, _MOST_BYTES = 1 << 20, 64 << 20
_NO_BUNDLE = "give a file that suture feed export wrote; if it is one, carry it over again"


@dataclass(frozen=True)
class BundleContent:
    """What a bundle holds."""

    offers: tuple[Offer, ...]
    bytes: int


def export(
    feed: Repository, path: Path, build_ids: Collection[str] = (), *, progress: Progress = silent
) -> BundleContent:
    """Write the state that is served to a tar file; with `build_ids` the patches for these alone. Raises `BadFeed`,
    `NotFound`."""
    state = feed.published()
    if state is None:
        raise BadFeed(f"{feed.folder}: nothing is published", "publish first: suture feed publish")
    found = inspection.inspect(state, patches=False, progress=progress)
    if found.problems:
        raise BadFeed(found.problems[0].text, found.problems[0].remedy)
    chosen = {p: s for p, s in found.statements.items() if not build_ids or s.build_id in build_ids}
    names = {*found.files, *chosen, *(f for s in chosen.values() for f in inspection.paths_of(s))}
    names |= {f"metadata/{p.name}" for p in feed.metadata.glob("*.root.json")}
    progress(f"writing {len(names)} files")
    try:
        handle, scratch = tempfile.mkstemp(dir=path.absolute().parent, prefix=f".{path.name}-")
        with os.fdopen(handle, "wb") as out, tarfile.open(fileobj=out, mode="w", format=tarfile.PAX_FORMAT) as tar:
            for name in sorted(names):
                tar.add(feed.public / name, name, recursive=False, filter=_plain)
        os.chmod(scratch, 0o644)
        os.replace(scratch, path)
    except OSError as problem:
        raise NotFound(
            f"{problem.filename or path}: {problem.strerror}", "give a place that you may write to"
        ) from problem
    return BundleContent(tuple(o for s in chosen.values() for o in s.offers), path.stat().st_size)


def _plain(member: tarfile.TarInfo) -> tarfile.TarInfo:
    member.uid = member.gid = member.mtime = 0
    member.uname = member.gname = ""
    member.mode = 0o644
    return member


def take_in(
    path: Path, mirror: Path, root: bytes | None, *, progress: Progress = silent
) -> tuple[FeedVersion, BundleContent]:
    """Bring a bundle into a mirror, a folder with `public/`, which hosts read over a web server or as file:. `root` is
    needed the first time.

    Raises `Untrusted` (expired, older than what is there, altered, not signed), `BadOption`, `NotFound`.
    """
    mirror.mkdir(parents=True, exist_ok=True)
    scratch = Path(tempfile.mkdtemp(dir=mirror, prefix=".incoming-"))
    try:
        progress("unpacking")
        size = _unpack(path, scratch)
        client = Client(folder_url(scratch), mirror / "client", root)
        with client.alone():
            progress("checking signatures")
            seen = client.refresh()
            known: Metadata[Root] = Metadata.from_file(str(mirror / "client/metadata/root.json"))
            offers = _check(scratch, known.signed, progress)
            _merge(scratch, mirror / "public")
        return seen, BundleContent(offers, size)
    finally:
        shutil.rmtree(scratch, ignore_errors=True)


def _check(public: Path, root: Root, progress: Progress) -> tuple[Offer, ...]:
    """Everything that the bundle says it has."""
    found = inspection.inspect(repository.read_state(public, [root]), partial=True, progress=progress)
    if found.problems:
        raise Untrusted(found.problems[0].text, _NO_BUNDLE, reason=Reason.FEED_ALTERED)
    return found.offers


def _unpack(path: Path, folder: Path) -> int:
    """Plain files with the names that a feed has, and nothing else. The size of the bundle."""
    try:
        with tarfile.open(path, mode="r:") as tar:
            for count, member in enumerate(tar):
                if not member.isreg() or not _NAME.fullmatch(member.name) or member.size > _MOST_BYTES:
                    raise Untrusted(
                        f"{path}: {member.name[:80]!r} is in no bundle", _NO_BUNDLE, reason=Reason.FEED_ALTERED
                    )
                source = tar.extractfile(member)
                if source is None or count >= _MOST_FILES:
                    raise Untrusted(f"{path}: too many files, or a broken one", _NO_BUNDLE, reason=Reason.FEED_ALTERED)
                target = folder / member.name
                target.parent.mkdir(parents=True, exist_ok=True)
                with open(target, "wb") as out:
                    shutil.copyfileobj(source, out)
        return path.stat().st_size
    except tarfile.TarError as problem:
        raise Untrusted(
            f"{path}: no bundle, or one that was cut off", _NO_BUNDLE, reason=Reason.FEED_ALTERED
        ) from problem
    except OSError as problem:
        raise NotFound(
            f"{problem.filename or path}: {problem.strerror}", "give a bundle, and a folder with room"
        ) from problem


def _merge(source: Path, public: Path) -> None:
    """What others refer to comes first, timestamp.json last."""
    last = source / "metadata/timestamp.json"
    moved = []
    for path in sorted(
        (p for p in source.rglob("*") if p.is_file() and p != last), reverse=True
    ):  # targets, then metadata
        moved.append(public / path.relative_to(source))
        moved[-1].parent.mkdir(parents=True, exist_ok=True)
        os.replace(path, moved[-1])
    repository.settle(moved)
    os.replace(last, public / "metadata/timestamp.json")
    repository.settle([public / "metadata/timestamp.json"])
