"""Where the Debian archive is: addresses taken from the host's own apt sources, and a private apt configuration.

The host's configuration is read and never written. Out of it come the addresses, the keys and the `Acquire` settings
(proxies, checks); everything else of apt lives under the cache folder.

`$SUTURE_MIRROR` overrides the addresses: one, or two with that of the security archive second.
`$SUTURE_SNAPSHOT` adds addresses of an archive as it was at some time (same form), for versions that are gone.
Source of the formats: sources.list(5), apt.conf(5).
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from debian.deb822 import Deb822

from suture.command import run
from suture.error import NotFound, Unsupported

RELEASES = {"bullseye": 11, "bookworm": 12, "trixie": 13, "sid": 0}
"""Releases by codename, with the number that their updates carry in a version (`+deb12u7`)."""

_KEYRING = Path("/usr/share/keyrings/debian-archive-keyring.gpg")
_NOT_COPIED = re.compile(r"^Acquire::(IndexTargets|Changelogs|CompressionTypes|Languages|GzipIndexes)\b")
_STABLE_NAMES = frozenset(RELEASES) | {"stable", "oldstable", "testing", "unstable"}


@dataclass(frozen=True)
class Mirror:
    """Addresses of the main and the security archive, and the keyring that verifies both."""

    main: str
    security: str
    keyring: Path
    snapshots: tuple[tuple[str, str], ...] = ()


def find(etc: Path = Path("/etc/apt")) -> Mirror:
    """The archive's addresses. Raises `NotFound` if neither the host's apt sources nor `$SUTURE_MIRROR` has any."""
    snapshot = os.environ.get("SUTURE_SNAPSHOT", "").split()
    snapshots = (_pair(snapshot),) if snapshot else ()
    own = os.environ.get("SUTURE_MIRROR", "").split()
    if own:
        return Mirror(*_pair(own), _KEYRING, snapshots)
    main = security = None
    keyring = _KEYRING
    for address, suite, key in _entries(etc):
        if suite in _STABLE_NAMES and main is None:
            main, keyring = address, key or keyring
        if re.fullmatch(r"(\w+)(-security|/updates)", suite) and security is None:
            security = address
    if main is None:
        raise NotFound(
            f"no Debian archive among the apt sources in {etc}",
            "set SUTURE_MIRROR to the archive's address (and, after a space, that of its security archive)",
        )
    return Mirror(main, security or f"{main}-security", keyring, snapshots)


def sources_list(mirror: Mirror, release: str) -> str:
    """One-line apt sources, deb and deb-src, for all pockets of a release.

    Raises `Unsupported` for a release that is not known.
    """
    if release not in RELEASES:
        raise Unsupported(f"release {release!r} is not known", f"give one of {', '.join(RELEASES)}")
    lines = _pockets(mirror.main, mirror.security, release, f"[signed-by={mirror.keyring}]")
    for main, security in mirror.snapshots:
        lines += _pockets(main, security, release, f"[signed-by={mirror.keyring} check-valid-until=no]")
    return "".join(f"{line}\n" for line in lines)


def configuration(folder: Path) -> str:
    """Text of an apt.conf that keeps all of apt's files under `folder`, with the host's `Acquire` settings."""
    own = [
        f'Dir::State "{folder}/state";',
        f'Dir::State::status "{folder}/state/status";',
        f'Dir::Cache "{folder}/cache";',
        f'Dir::Etc::sourcelist "{folder}/sources.list";',
        'Dir::Etc::sourceparts "/dev/null";',
        'Dir::Etc::parts "/dev/null";',
        'Dir::Etc::main "/dev/null";',
        'Dir::Etc::preferences "/dev/null";',
        'Dir::Etc::preferencesparts "/dev/null";',
        'Acquire::Languages "none";',
        'APT::Sandbox::User "root";',
    ]
    return "\n".join([*own, *acquire_settings()]) + "\n"


def acquire_settings() -> list[str]:
    """The host's `Acquire` settings, as lines of an apt.conf."""
    lines = run(["apt-config", "dump"]).splitlines()
    return [x for x in lines if x.startswith("Acquire::") and not _NOT_COPIED.match(x) and not x.endswith('"";')]


def _pair(addresses: list[str]) -> tuple[str, str]:
    first = addresses[0].rstrip("/")
    return first, (addresses[1].rstrip("/") if len(addresses) > 1 else f"{first}-security")


def _pockets(main: str, security: str, release: str, options: str) -> list[str]:
    suites = [(main, release)]
    if release != "sid":
        suites += [(main, f"{release}-updates"), (security, f"{release}-security")]
    return [f"{kind} {options} {address} {suite} main" for address, suite in suites for kind in ("deb", "deb-src")]


def _entries(etc: Path) -> Iterator[tuple[str, str, Path | None]]:
    """(address, suite, keyring) of each apt source of the host."""
    for path in [etc / "sources.list", *sorted((etc / "sources.list.d").glob("*.list"))]:
        if path.is_file():
            yield from _one_line(path.read_text(errors="replace"))
    for path in sorted((etc / "sources.list.d").glob("*.sources")):
        for block in Deb822.iter_paragraphs(path.read_text(errors="replace")):
            key = str(block.get("Signed-By", "")).strip()
            for address in str(block.get("URIs", "")).split():
                for suite in str(block.get("Suites", "")).split():
                    yield _address(address), suite, Path(key) if key.startswith("/") else None


def _one_line(text: str) -> Iterator[tuple[str, str, Path | None]]:
    for line in text.splitlines():
        found = re.match(r"\s*deb(?:-src)?\s+(?:\[(.*?)\]\s+)?(\S+)\s+(\S+)", line)
        if found:
            key = re.search(r"signed-by=(/\S+)", found[1] or "")
            yield _address(found[2]), found[3], Path(key[1]) if key else None


def _address(address: str) -> str:
    """An address without its trailing slash; of a `mirror+file:` list, its first address."""
    if address.startswith("mirror+file:"):
        listed = Path(address.removeprefix("mirror+file:")).read_text().split()
        address = next((x for x in listed if "://" in x), address)
    return address.rstrip("/")
