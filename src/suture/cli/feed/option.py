"""Options that several actions of `suture feed` have, and what they come to."""

from __future__ import annotations

import argparse
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

from suture.error import NotFound

if TYPE_CHECKING:
    from suture.feed.key import Keys
    from suture.feed.repository import Repository


def add_feed(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--feed", type=Path, required=True, metavar="DIR", help="the feed's folder")


def add_keys(parser: argparse.ArgumentParser, help: str = "a folder of private keys; may be repeated") -> None:
    parser.add_argument("--keys", type=Path, action="append", default=[], metavar="DIR", help=help)
    add_passphrase(parser)


def add_passphrase(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--passphrase-file", type=Path, metavar="FILE", help="a file whose first line encrypts the private keys"
    )


def repository(args: argparse.Namespace) -> Repository:
    """Raises `BadFeed` where there is none."""
    from suture.feed.repository import Repository

    feed = Repository(args.feed)
    feed.check()
    return feed


def keys(args: argparse.Namespace) -> Keys:
    from suture.feed.key import Keys, read_passphrase

    return Keys(tuple(args.keys), read_passphrase(args.passphrase_file))


def root(args: argparse.Namespace) -> bytes | None:
    """The bytes of a root.json. Raises `NotFound`."""
    if args.root is None:
        return None
    try:
        found: bytes = args.root.read_bytes()
    except OSError as problem:
        raise NotFound(
            f"{args.root}: {problem.strerror}", "give the root.json that the feed's keeper gave you"
        ) from problem
    return found


def time() -> datetime:
    return datetime.now(UTC)
