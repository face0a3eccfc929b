"""What a newer version of a source package brings to an older one: its fixes, each as small as it can stand, with their
CVEs."""

from __future__ import annotations

import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from suture.command import CommandFailed, run
from suture.error import Refused
from suture.source.archive import SourceVersion
from suture.source.difference import cves_between, from_series, series, tree_difference
from suture.source.fix import Fix
from suture.source.split import single_changes

_PATCH = ["--strip=1", "--force", "--fuzz=0", "--no-backup-if-mismatch", "--reject-file=-", "--quiet"]


@dataclass(frozen=True)
class Plan:
    """The fixes in the order in which they apply. `patches` are those that come from a patch of the newer series,
    `rest` the single changes of what differs beside them (a new upstream version, a patch that was rewritten).

    `cves` are all that the newer changelog names and the older does not; those that no patch of the series is for may
    be closed by any of the rest.
    """

    old: SourceVersion
    new: SourceVersion
    patches: tuple[Fix, ...]
    rest: tuple[Fix, ...]
    cves: tuple[str, ...]

    @property
    def fixes(self) -> tuple[Fix, ...]:
        return (*self.patches, *self.rest)

    @property
    def of_rest(self) -> tuple[str, ...]:
        """CVEs of the changelog that no patch of the series is for."""
        claimed = {c for f in self.patches for c in (*f.cves, *(n.cve for n in f.named))}
        return tuple(c for c in self.cves if c not in claimed)


def plan(old: SourceVersion, new: SourceVersion) -> Plan:
    """The plan from one version to another. Raises `Refused` when nothing differs."""
    with tempfile.TemporaryDirectory(prefix="suture-plan-") as folder:
        tree = Path(folder, "tree")
        run(["cp", "--archive", "--reflink=auto", str(old.tree), str(tree)])
        patches = tuple(f for name in _added(old, new) if (f := _applied(tree, new, name)) is not None)
        try:
            whole = tree_difference(tree, new.tree, f"{old.name}-{old.version}-to-{new.version}")
        except Refused:
            if not patches:
                raise
            rest: tuple[Fix, ...] = ()
        else:
            rest = single_changes(whole, _reader(tree), _reader(new.tree))
    return Plan(old, new, patches, rest, cves_between(old, new))


def _added(old: SourceVersion, new: SourceVersion) -> tuple[str, ...]:
    """Patches of the newer series with a content that no patch of the older one has."""

    def content(source: SourceVersion, name: str) -> bytes | None:
        path = source.tree / "debian" / "patches" / name
        return path.read_bytes() if path.is_file() else None

    known = {content(old, name) for name in series(old)}
    return tuple(name for name in series(new) if content(new, name) not in known)


def _applied(tree: Path, source: SourceVersion, name: str) -> Fix | None:
    """A patch of the series, applied to the tree; None for one that does not apply there, or holds no diff.

    A patch that an older version had in another form is in the tree already, so it does not apply; what it brings
    beside that is rest.
    """
    try:
        fix = from_series(source, name)
        text = "".join(f.text for f in fix.files if f.has_hunks).encode(errors="surrogateescape")
        run(["patch", *_PATCH, "--dry-run"], cwd=tree, stdin=text)
        run(["patch", *_PATCH], cwd=tree, stdin=text)
    except (CommandFailed, Refused):
        return None
    return fix


def _reader(tree: Path) -> Callable[[str], str | None]:
    def read(path: str) -> str | None:
        place = tree / path
        return place.read_text(errors="surrogateescape") if place.is_file() and not place.is_symlink() else None

    return read
