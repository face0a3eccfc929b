"""An apt repository of built packages, signed, put in force by one rename.

dpkg-dev's own tools read the packages (dpkg-scanpackages, dpkg-scansources), gpg signs. Indexes are fetched by their
hash (Acquire-By-Hash), and those of the state before stay, so that a host that reads meanwhile finds what its InRelease
names. The form is that of Debian's archive (https://wiki.debian.org/DebianRepository/Format).
"""

from __future__ import annotations

import hashlib
import lzma
import os
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from pathlib import Path

from debian.deb822 import Deb822

from suture import whole_file
from suture.command import run
from suture.els.signature import SigningKey
from suture.error import ExitCode, SutureError
from suture.source import cache

COMPONENT, ARCHITECTURE = "main", "amd64"
KEYRING = "suture-els.asc"
_KEPT = 2  # states whose indexes stay


class OtherBytes(SutureError):
    """A file of this name was published before with other contents."""

    exit_code = ExitCode.REFUSED

    def __init__(self, path: Path) -> None:
        super().__init__(
            f"{path} is published already, with other bytes",
            "a published version stays as it is: add a fix, or build on the published version with --version",
        )


@dataclass(frozen=True)
class AptRepository:
    """A repository's folder, and the suite in it."""

    folder: Path
    suite: str

    def add(self, package: str, files: Sequence[Path]) -> tuple[str, ...]:
        """Put a package's files into the pool; the names of those that were not there. A file that is there already
        with other bytes is an error of whoever built it: hosts may have it."""
        place = self.folder / "pool" / COMPONENT / self.suite / package
        place.mkdir(parents=True, exist_ok=True)
        added = []
        for path in files:
            target = place / path.name
            if target.exists() and target.read_bytes() == path.read_bytes():
                continue
            if target.exists():
                raise OtherBytes(target)
            whole_file.replace(target, path.read_bytes())
            added.append(path.name)
        return tuple(added)

    def publish(self, key: SigningKey, now: datetime, days: int) -> None:
        """Sign what is in the pool and put it in force, to be believed for `days`."""
        with cache.locked(self.folder / "dists"):
            number = max((int(p.name.rsplit("-", 1)[1]) for p in self.folder.glob(".dists-*-*")), default=0) + 1
            new = self.folder / f".dists-{self.suite}-{number}"
            cache.discard(new)
            suite = new / self.suite
            suite.mkdir(parents=True)
            self._keep_others(new)
            indexes = self._write_indexes(suite)
            text = self._release(indexes, now, days)
            (suite / "Release").write_text(text)
            (suite / "Release.gpg").write_text(key.detached(text))
            (suite / "InRelease").write_text(key.clear_signed(text))
            whole_file.replace(self.folder / KEYRING, key.public().encode())
            self._switch(new)

    def sources(self, address: str) -> str:
        """What a host puts into /etc/apt/sources.list.d (deb822, sources.list(5))."""
        fields = {
            "Types": "deb deb-src",
            "URIs": address,
            "Suites": self.suite,
            "Components": COMPONENT,
            "Signed-By": f"/etc/apt/keyrings/{KEYRING}",
        }
        return "".join(f"{k}: {v}\n" for k, v in fields.items())

    def _keep_others(self, new: Path) -> None:
        """Other suites as they are, and the indexes of this one that hosts may be reading."""
        current = self.folder / "dists"
        if not current.exists():
            return
        for other in current.iterdir():
            if other.name != self.suite:
                run(["cp", "--archive", "--link", str(other), str(new)])
        for held in current.glob(f"{self.suite}/**/by-hash"):
            place = new / held.relative_to(current)
            place.parent.mkdir(parents=True, exist_ok=True)
            run(["cp", "--archive", "--link", str(held), str(place)])
            rows = (current / self.suite / "Release").read_text().splitlines()
            named = {row.split()[0] for row in rows if row.startswith(" ")}
            for old in (p for p in place.rglob("*") if p.is_file() and p.name not in named):
                old.unlink()

    def _write_indexes(self, suite: Path) -> Mapping[str, bytes]:
        """The indexes under their names and under their hashes; by their paths below the suite."""
        pool = f"pool/{COMPONENT}/{self.suite}"
        (self.folder / pool).mkdir(parents=True, exist_ok=True)  # a suite may have no package yet
        packages = run(["dpkg-scanpackages", "--multiversion", "--arch", ARCHITECTURE, pool], cwd=self.folder)
        sources = run(["dpkg-scansources", pool], cwd=self.folder)
        found: dict[str, bytes] = {}
        for name, text in (
            (f"{COMPONENT}/binary-{ARCHITECTURE}/Packages", packages),
            (f"{COMPONENT}/source/Sources", sources),
        ):
            data = text.encode(errors="surrogateescape")
            found |= {name: data, f"{name}.xz": lzma.compress(data)}
        for name, data in found.items():
            path = suite / name
            by_hash = path.parent / "by-hash/SHA256"
            by_hash.mkdir(parents=True, exist_ok=True)
            path.write_bytes(data)
            (by_hash / hashlib.sha256(data).hexdigest()).write_bytes(data)
        return found

    def _release(self, indexes: Mapping[str, bytes], now: datetime, days: int) -> str:
        release = Deb822()
        release["Origin"] = release["Label"] = "Suture"
        release["Suite"] = release["Codename"] = self.suite
        release["Date"] = _moment(now)
        release["Valid-Until"] = _moment(now + timedelta(days=days))
        release["Acquire-By-Hash"] = "yes"
        release["Architectures"] = ARCHITECTURE
        release["Components"] = COMPONENT
        release["Description"] = "fixes backported to a release past its end of life"
        rows = [f" {hashlib.sha256(data).hexdigest()} {len(data):>8} {name}" for name, data in sorted(indexes.items())]
        return f"{release.dump()}SHA256:\n" + "".join(f"{row}\n" for row in rows)

    def _switch(self, new: Path) -> None:
        link = self.folder / ".dists.new"
        link.unlink(missing_ok=True)
        link.symlink_to(new.name)
        os.replace(link, self.folder / "dists")
        states = sorted(self.folder.glob(".dists-*-*"), key=lambda p: int(p.name.rsplit("-", 1)[1]))
        for old in states[:-_KEPT]:
            shutil.rmtree(old, ignore_errors=True)


def _moment(when: datetime) -> str:
    """RFC 2822 in UTC, which apt takes with the zone called UTC or GMT."""
    return format_datetime(when.astimezone(UTC).replace(microsecond=0), usegmt=True).replace("GMT", "UTC")
