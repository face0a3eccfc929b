"""Options that the actions of `suture els` share, and the two source packages that they mean."""

from __future__ import annotations

import argparse
from functools import partial
from typing import TYPE_CHECKING

from suture.progress import Progress

if TYPE_CHECKING:
    from suture.source.archive import SourceVersion


def add(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("package", metavar="PACKAGE", help="a source package, as both releases call it")
    parser.add_argument(
        "--release", default="bullseye", metavar="NAME", help="the release past its end (default: bullseye)"
    )
    parser.add_argument(
        "--from", dest="donor", default="bookworm", metavar="NAME", help="the newer release (default: bookworm)"
    )
    newest = "(default: the newest that arrives)"
    parser.add_argument("--version", metavar="VERSION", help=f"the older release's version {newest}")
    parser.add_argument("--from-version", metavar="VERSION", help=f"the newer release's version {newest}")


def sources(args: argparse.Namespace, progress: Progress) -> tuple[SourceVersion, SourceVersion]:
    """The older release's source package and the newer one's. Raises `NotFound`, and `BadName`."""
    return (
        _source(args.package, args.release, args.version, progress),
        _source(args.package, args.donor, args.from_version, progress),
    )


def _source(name: str, release: str, version: str | None, progress: Progress) -> SourceVersion:
    from suture.source.archive import Archive
    from suture.source.update import newest_that_arrives

    archive = Archive(release, progress)
    get = partial(archive.source, name)
    return get(version) if version else newest_that_arrives(name, archive, get)
