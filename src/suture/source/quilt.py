"""What a file held at each point of a quilt series.

dpkg-source unpacks with all patches applied and keeps, as quilt does, what each patch changed as it was before under
.pc/PATCH/PATH; an empty file there is one that was not there (quilt(1), "The .pc directory").
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from suture.source.archive import SourceVersion
from suture.source.difference import series


@dataclass(frozen=True)
class Series:
    """The patches of an unpacked source package in their order."""

    tree: Path
    patches: Sequence[str]

    @classmethod
    def of(cls, source: SourceVersion) -> Series:
        return cls(source.tree, series(source))

    def before(self, patch: str, path: str) -> str | None:
        """The text of a file before a patch; None for a file that is not there then. Raises `ValueError` for a patch
        that the series has not."""
        return self._from(self.patches.index(patch), path)

    def after(self, patch: str, path: str) -> str | None:
        """The text of a file after a patch, as `before` gives it."""
        return self._from(self.patches.index(patch) + 1, path)

    def _from(self, number: int, path: str) -> str | None:
        for name in self.patches[number:]:
            kept = self.tree / ".pc" / name / path
            if kept.is_file():
                return read(kept) or None
        return read(self.tree / path)


def read(path: Path) -> str | None:
    """A file of a source as text, its bytes kept; None where there is none, and for a symbolic link."""
    return path.read_bytes().decode(errors="surrogateescape") if path.is_file() and not path.is_symlink() else None
