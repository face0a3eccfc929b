"""A fix that a person made in the older release's source, as a patch."""

from __future__ import annotations

import tempfile
from collections.abc import Callable
from pathlib import Path

from suture.command import CommandFailed
from suture.els.backport import Backport, CarriedFile
from suture.error import Refused
from suture.report.els import CarriedBy
from suture.source.fix import parse
from suture.source.patch_command import apply_patch


def by_hand(text: str, name: str, read: Callable[[str], str | None]) -> Backport:
    """The files of the older release with a patch; `read` gives the text of a path, None for no file. Raises `Refused`
    for a patch that does not apply to the letter, and for what `parse` refuses."""
    fix = parse(text, name, lambda path: read(path) is not None)
    paths = list(dict.fromkeys(f.path for f in fix.files))
    before = {path: read(path) for path in paths}
    with tempfile.TemporaryDirectory(prefix="suture-els-") as folder:
        root = Path(folder)
        for path, old in before.items():
            (root / path).parent.mkdir(parents=True, exist_ok=True)
            if old is not None:
                (root / path).write_bytes(old.encode(errors="surrogateescape"))
        try:
            apply_patch(root, fix.text)
        except CommandFailed as failed:
            raise Refused(
                f"{name} does not apply to the older release's source: {failed.output.strip()[:300]}",
                "make it against the source as its series leaves it: apt-get source, dpkg-source --extract",
            ) from failed
        after = {path: _text(root / path) for path in paths}
    changed = (p for p in paths if before[p] != after[p])
    return Backport(tuple(CarriedFile(p, before[p], after[p], CarriedBy.HAND) for p in changed), (), ())


def _text(path: Path) -> str | None:
    return path.read_bytes().decode(errors="surrogateescape") if path.is_file() else None
