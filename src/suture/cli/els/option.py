"""Options that the actions of `suture els` share, and the two source packages that they mean."""

from __future__ import annotations

import argparse
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from suture.cli.number import days
from suture.error import ExitCode
from suture.progress import Progress

if TYPE_CHECKING:
    from suture.source.archive import SourceVersion

EXIT_CODES = (
    ExitCode.OK,
    ExitCode.USAGE,
    ExitCode.REFUSED,
    ExitCode.PARTIAL,
    ExitCode.NOT_FOUND,
    ExitCode.COMMAND,
)
"""Of an action that reads sources and runs other programs."""
BUILD_EXIT_CODES = (
    ExitCode.OK,
    ExitCode.USAGE,
    ExitCode.REFUSED,
    ExitCode.PARTIAL,
    ExitCode.NO_PERMISSION,
    ExitCode.NOT_FOUND,
    ExitCode.COMMAND,
    ExitCode.UNSUPPORTED,
)
"""Of an action that builds a package in a room."""


def add(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("package", metavar="PACKAGE", help="a source package, as both releases call it")
    add_releases(parser)
    newest = "(default: the newest that arrives)"
    parser.add_argument("--version", metavar="VERSION", help=f"the older release's version {newest}")
    parser.add_argument("--from-version", metavar="VERSION", help=f"the newer release's version {newest}")


def add_fix(parser: argparse.ArgumentParser, default: str = "") -> None:
    """The fixes that are meant; `default` tells which without the option."""
    told = "a CVE, or a patch of the newer release's series; may be repeated" + default
    parser.add_argument("--fix", action="append", default=[], metavar="FIX", help=told)


def add_releases(parser: argparse.ArgumentParser) -> None:
    """The two releases."""
    parser.add_argument(
        "--release", default="bullseye", metavar="NAME", help="the release past its end (default: bullseye)"
    )
    parser.add_argument(
        "--from", dest="donor", default="bookworm", metavar="NAME", help="the newer release (default: bookworm)"
    )


def add_shelf(parser: argparse.ArgumentParser) -> None:
    """The folder of built packages."""
    parser.add_argument(
        "--output",
        type=Path,
        default=Path("built"),
        metavar="DIR",
        help="where built packages are kept, DIR/PACKAGE/VERSION (default: built)",
    )


def sources(args: argparse.Namespace, progress: Progress) -> tuple[SourceVersion, SourceVersion]:
    """The older release's source package and the newer one's. Raises `NotFound`, and `BadName`."""
    return (
        _source(args.package, args.release, args.version, progress),
        _source(args.package, args.donor, args.from_version, progress),
    )


def newest(name: str, release: str, progress: Progress) -> SourceVersion:
    """The newest source of a release that arrives. Raises `NotFound`."""
    return _source(name, release, None, progress)


def _source(name: str, release: str, version: str | None, progress: Progress) -> SourceVersion:
    from suture.source.archive import Archive
    from suture.source.update import newest_that_arrives

    archive = Archive(release, progress)
    get = partial(archive.source, name)
    return get(version) if version else newest_that_arrives(name, archive, get)


def add_patches(parser: argparse.ArgumentParser) -> None:
    """The folder of live patches."""
    parser.add_argument(
        "--patches",
        type=Path,
        default=Path("patches"),
        metavar="DIR",
        help="where live patches are kept, as suture watch keeps them (default: patches)",
    )


def add_feed(parser: argparse.ArgumentParser) -> None:
    """The feed that patches are staged for."""
    parser.add_argument(
        "--feed",
        type=Path,
        metavar="DIR",
        help="stage the live patches for this feed too, as suture feed add does (default: no feed)",
    )


def add_accept(parser: argparse.ArgumentParser) -> None:
    """A person's word for a package."""
    parser.add_argument(
        "--accept",
        action="append",
        default=[],
        metavar="PACKAGE=VERSION",
        help="let this one out although it needs a look: you have looked; may be repeated",
    )


def add_repository(parser: argparse.ArgumentParser) -> None:
    """The apt repository, and what it is signed with."""
    add_repository_folder(parser)
    parser.add_argument("--key", required=True, metavar="KEY", help="gpg's name or fingerprint of the key that signs")
    parser.add_argument("--gnupg-home", type=Path, metavar="DIR", help="the folder that gpg keeps the key in")
    parser.add_argument(
        "--days", type=days, default=14, metavar="N", help="how long hosts may believe what is signed (default: 14)"
    )
    parser.add_argument(
        "--url",
        default="https://example.org/suture",
        metavar="URL",
        help="where hosts find the repository, for what is printed (default: an example)",
    )


def add_repository_folder(parser: argparse.ArgumentParser) -> None:
    """The apt repository."""
    parser.add_argument(
        "--repository",
        type=Path,
        default=Path("repository"),
        metavar="DIR",
        help="the folder of the apt repository, which a web server hands out (default: repository)",
    )
