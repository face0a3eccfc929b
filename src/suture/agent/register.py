"""What the privileged part keeps, in a folder of root's own: the patches that it has taken, their files, what it has
seen of the feed, and what an administrator has allowed.

    register.json   the patches, and the feed's newest root and versions
    patches/        their files
    allowed/        an empty file for each patch (its id) that an administrator has allowed
"""

from __future__ import annotations

import os
from dataclasses import dataclass, replace
from pathlib import Path

from suture import whole_file
from suture.agent import kept
from suture.agent.evidence import TrustedState
from suture.patch.statement import file_name
from suture.report.agent import PatchInForce
from suture.report.feed import Offer


@dataclass(frozen=True)
class RegisterContent:
    """`trusted` is none before the first evidence; `of_root` is the digest of the root.json that trust began with."""

    in_force: tuple[PatchInForce, ...] = ()
    trusted: TrustedState | None = None
    of_root: str = ""


class Register:
    """The folder, which is made if it is not there. Raises OSError."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        for part in (folder, self.patches, self._allowed):
            part.mkdir(mode=0o755, parents=True, exist_ok=True)
        self.content = read(folder)

    @property
    def patches(self) -> Path:
        return self.folder / "patches"

    @property
    def _allowed(self) -> Path:
        return self.folder / "allowed"

    @property
    def allowed(self) -> frozenset[str]:
        return allowed(self.folder)

    def row(self, patch: str) -> PatchInForce | None:
        return next((r for r in self.content.in_force if r.offer.patch == patch), None)

    def file(self, offer: Offer) -> Path:
        """Where the patch's file is kept."""
        return self.patches / file_name(offer)

    def trust(self, trusted: TrustedState, of_root: str) -> None:
        """Raises OSError."""
        self._keep(replace(self.content, trusted=trusted, of_root=of_root))

    def put(self, row: PatchInForce) -> None:
        """Raises OSError."""
        others = tuple(r for r in self.content.in_force if r.offer.patch != row.offer.patch)
        self._keep(replace(self.content, in_force=(*others, row)))

    def drop(self, offer: Offer) -> None:
        """The patch is out of force. Raises OSError."""
        others = tuple(r for r in self.content.in_force if r.offer.patch != offer.patch)
        self._keep(replace(self.content, in_force=others))
        self.file(offer).unlink(missing_ok=True)

    def disallow(self, patch: str) -> None:
        """An administrator has to allow it anew. Raises OSError."""
        (self._allowed / patch).unlink(missing_ok=True)

    def _keep(self, content: RegisterContent) -> None:
        if content != self.content:
            kept.write_value(self.folder / "register.json", content)
            self.content = content


def read(folder: Path) -> RegisterContent:
    """What was kept; empty where there is nothing."""
    return kept.read_value(folder / "register.json", RegisterContent) or RegisterContent()


def allowed(folder: Path) -> frozenset[str]:
    """The patches (ids) that an administrator has allowed."""
    try:
        return frozenset(p.name for p in (folder / "allowed").iterdir())
    except OSError:
        return frozenset()


def allow(folder: Path, patch: str) -> None:
    """An administrator allows a patch. Raises OSError."""
    place = folder / "allowed"
    place.mkdir(mode=0o755, parents=True, exist_ok=True)
    os.close(os.open(place / patch, os.O_WRONLY | os.O_CREAT | os.O_CLOEXEC, 0o644))
    whole_file.settle(place)
