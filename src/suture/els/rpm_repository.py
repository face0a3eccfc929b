"""A dnf repository of built packages: rpms signed with rpmsign, repodata made by createrepo_c and signed, put in force
by one rename."""

from __future__ import annotations

import hashlib
import os
import shutil
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from suture import whole_file
from suture.compile.room import BUILDER, Room
from suture.els.apt_repository import KEYRING, OtherBytes
from suture.els.signature import SigningKey
from suture.els.updateinfo import RpmUpdate, updateinfo
from suture.source import cache

_KEPT = 2  # states whose metadata stays for hosts that are reading it
# gpg has the key in a folder that ends with the command.
_SIGN = """\
export GNUPGHOME=$(mktemp --directory)
gpg --batch --quiet --import /key
cp /given/* /out/
rpmsign --define '__gpg /usr/bin/gpg' --define '_gpg_name {key}' --addsign /out/*.rpm >/dev/null
"""
_INDEX = """\
createrepo_c --quiet --revision {number} /out
modifyrepo_c --mdtype=updateinfo --unique-md-filenames /given/updateinfo.xml /out/repodata
"""


@dataclass(frozen=True)
class RpmRepository:
    """A repository's folder and its name; `where` is a room with rpm's tools (`rpm_package.TOOLS`)."""

    folder: Path
    name: str
    where: Room

    def add(self, package: str, files: Sequence[Path], key: SigningKey) -> tuple[str, ...]:
        """Sign a package's rpms into the pool; the names of those that were not there. Raises `OtherBytes` for one that
        was published with other contents."""
        place = self.folder / "pool" / self.name / package
        place.mkdir(parents=True, exist_ok=True)
        new = [p for p in files if not self._is_there(place, p)]
        if not new:
            return ()
        with cache.scratch_folder(self.folder) as scratch, tempfile.TemporaryDirectory(prefix="suture-els-") as secret:
            given, out, held = scratch / "given", scratch / "out", Path(secret, "key")
            given.mkdir()
            out.mkdir()
            for path in new:
                shutil.copy(path, given)
            held.touch(mode=0o600)
            held.write_text(key.secret())
            os.chown(held, BUILDER, BUILDER)
            script = _SIGN.format(key=key.fingerprint())
            self.where.enter(script, binds=[(given, "/given"), (held, "/key")], outputs=[(out, "/out")])
            for path in new:
                whole_file.replace(place / path.name, (out / path.name).read_bytes())
                whole_file.replace(place / f".{path.name}.sha256", _digest(path).encode())
        return tuple(p.name for p in new)

    def publish(self, key: SigningKey, updates: Sequence[RpmUpdate]) -> None:
        """Index what is in the pool, sign it and put it in force."""
        with cache.locked(self.folder / self.name):
            states = sorted(self.folder.glob(f".{self.name}-*"), key=_number)
            new = self.folder / f".{self.name}-{_number(states[-1]) + 1 if states else 1}"
            cache.discard(new)
            with cache.scratch_folder(self.folder) as scratch:
                out, given = scratch / "out", scratch / "given"
                out.mkdir()
                given.mkdir()
                for path in sorted((self.folder / "pool" / self.name).glob("*/*.rpm")):
                    shutil.copy(path, out)
                (given / "updateinfo.xml").write_text(updateinfo(updates, self.name))
                self.where.enter(_INDEX.format(number=_number(new)), binds=[(given, "/given")], outputs=[(out, "/out")])
                index = out / "repodata/repomd.xml"
                (out / "repodata/repomd.xml.asc").write_text(key.detached(index.read_text()))
                os.chmod(out, 0o755)
                out.rename(new)
            whole_file.replace(self.folder / KEYRING, key.public().encode())
            link = self.folder / f".{self.name}.new"
            link.unlink(missing_ok=True)
            link.symlink_to(new.name)
            os.replace(link, self.folder / self.name)
            for old in states[: -_KEPT + 1]:
                shutil.rmtree(old, ignore_errors=True)

    def sources(self, address: str) -> str:
        """What a host puts into /etc/yum.repos.d."""
        fields = {
            "name": self.name,
            "baseurl": f"{address}/{self.name}",
            "enabled": "1",
            "gpgcheck": "1",
            "repo_gpgcheck": "1",
            "gpgkey": f"{address}/{KEYRING}",
        }
        return f"[{self.name}]\n" + "".join(f"{k}={v}\n" for k, v in fields.items())

    def _is_there(self, place: Path, path: Path) -> bool:
        known = place / f".{path.name}.sha256"
        if not known.exists():
            return False
        if known.read_text() != _digest(path):
            raise OtherBytes(place / path.name)
        return True


def _digest(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


def _number(path: Path) -> int:
    return int(path.name.rsplit("-", 1)[1])
