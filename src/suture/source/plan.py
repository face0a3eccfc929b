"""What a newer version of a source package brings to an older one: its fixes, each as small as it can stand, with their
CVEs."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Callable, Collection, Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from suture.command import CommandFailed
from suture.error import Refused
from suture.source.archive import SourceVersion
from suture.source.difference import cves_between, from_series, series, tree_difference
from suture.source.fix import Fix
from suture.source.patch_command import apply_patch
from suture.source.split import single_changes
from suture.source.witness import Witness, shown

MOST_SINGLE = 1000
"""Single changes that are tried one by one."""

Witnesses = Callable[[Collection[str]], Sequence[Witness]]
"""Patches of other versions for some CVEs."""


@dataclass(frozen=True)
class Plan:
    """The fixes in the order in which they apply. `patches` are those that come from a patch of the newer series,
    `rest` the single changes of what differs beside them (a new upstream version, a patch that was rewritten); `shown`
    are those of them that are for a CVE as another version's patch tells (`suture.source.witness`), one fix for each.
    Where `rest` holds more than `MOST_SINGLE`, as after a reformatting, it is no candidate for anything.

    `cves` are all that the newer changelog names and the older does not, and those that others say are fixed.
    """

    old: SourceVersion
    new: SourceVersion
    patches: tuple[Fix, ...]
    rest: tuple[Fix, ...]
    cves: tuple[str, ...]
    shown: tuple[Fix, ...] = ()

    @property
    def fixes(self) -> tuple[Fix, ...]:
        return (*self.patches, *self.shown, *(self.rest if self._is_told_apart else ()))

    @property
    def _is_told_apart(self) -> bool:
        """Whether the other changes are few enough to be tried one by one."""
        return len(self.rest) <= MOST_SINGLE

    @property
    def text(self) -> str:
        """What it holds, for progress."""
        told = f"{len(self.patches)} patches and {len(self.rest)} other changes"
        return (
            f"{told}, beside {len(self.shown)} that other releases' patches show to be for a CVE"
            if self.shown
            else told
        )

    @property
    def candidates(self) -> dict[str, tuple[str, ...]]:
        """For each CVE that no fix claims the names of those that may be for it: what names it without a claim, and
        what claims no CVE at all. None where more differs than is tried one by one: any of it may be for it."""
        may_be = self.fixes if self._is_told_apart else ()
        claimed = {c for f in self.fixes for c in f.cves}
        return {
            cve: tuple(f.name for f in may_be if not f.cves or any(n.cve == cve for n in f.named))
            for cve in self.cves
            if cve not in claimed
        }


def plan(old: SourceVersion, new: SourceVersion, cves: Iterable[str] = (), known: Witnesses = lambda cves: ()) -> Plan:
    """The plan from one version to another; `cves` are fixed between them as others say, beside those of the changelog.
    `known` is asked for what no patch of the newer version is for. Raises `Refused` when nothing differs."""
    name = f"{old.name}-{old.version}-to-{new.version}"
    try:
        paths = _paths(tree_difference(old.tree, new.tree, name))
    except Refused:
        paths = frozenset()
    with tempfile.TemporaryDirectory(prefix="suture-plan-") as folder:
        before, after = _Part(old.tree, Path(folder, "old")), _Part(new.tree, Path(folder, "new"))
        before.hold(paths)
        patches = tuple(f for name in _added(old, new) if (f := _applied(before, new, name)) is not None)
        after.hold(before.held)
        try:
            whole = tree_difference(before.place, after.place, name)
        except Refused:
            if not patches:
                raise
            rest: tuple[Fix, ...] = ()
        else:
            rest = single_changes(whole, reader(before.place), reader(after.place))
    named = tuple(sorted({*cves_between(old, new), *cves}))
    open_ = [c for c in named if not any(c in f.cves for f in patches)]
    own, rest = shown(rest, known(open_)) if rest and open_ else ((), rest)
    return Plan(old, new, patches, rest, named, own)


@dataclass
class _Part:
    """A copy of what matters of a tree: the files that differ, and those that a patch changes. A whole source may have
    tens of thousands."""

    root: Path
    place: Path
    held: frozenset[str] = frozenset()

    def hold(self, paths: frozenset[str]) -> None:
        """Copy those that are not there yet."""
        _copy(self.root, self.place, sorted(paths - self.held))
        self.held |= paths


def _paths(fix: Fix) -> frozenset[str]:
    return frozenset(p for f in fix.files for p in (f.path, f.source) if p)


def _added(old: SourceVersion, new: SourceVersion) -> tuple[str, ...]:
    """Patches of the newer series with a content that no patch of the older one has."""

    def content(source: SourceVersion, name: str) -> bytes | None:
        path = source.tree / "debian" / "patches" / name
        return path.read_bytes() if path.is_file() else None

    known = {content(old, name) for name in series(old)}
    return tuple(name for name in series(new) if content(new, name) not in known)


def _applied(part: _Part, new: SourceVersion, name: str) -> Fix | None:
    """A patch of the newer series, applied to a part of the tree that then holds its files; None for one that does not
    apply there, or holds no diff.

    A patch that an older version had in another form is in the tree already, so it does not apply; what it brings
    beside that is rest. One that applies with fuzz alone is what it makes of the tree, if that is nearer to the newer.
    """
    try:
        fix = from_series(new, name)
        text = "".join(f.text for f in fix.files if f.has_hunks)
    except Refused:
        return None
    part.hold(_paths(fix))
    try:
        apply_patch(part.place, text, dry_run=True)
        apply_patch(part.place, text)
    except CommandFailed:
        return _fuzzed(part.place, new.tree, fix, text)
    return fix


def _fuzzed(tree: Path, newer: Path, fix: Fix, text: str) -> Fix | None:
    """A patch applied with fuzz, as a fix that applies exactly; None where it does not, or leads away from `newer`."""
    paths = sorted({f.path for f in fix.files})
    with tempfile.TemporaryDirectory(prefix="suture-fuzz-") as folder:
        before, after, wanted = (Path(folder, x) for x in ("before", "after", "wanted"))
        for root, place in ((tree, before), (tree, after), (newer, wanted)):
            _copy(root, place, paths)
        try:
            apply_patch(after, text, fuzz=2)
            made = tree_difference(before, after, fix.name)
        except (CommandFailed, Refused):
            return None
        if _distance(after, wanted) >= _distance(before, wanted):
            return None
        for path in (p for p in paths if (after / p).is_file()):
            (tree / path).parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(after / path, tree / path)
    return replace(fix, files=made.files)


def _copy(root: Path, place: Path, paths: Sequence[str]) -> None:
    place.mkdir(exist_ok=True)
    for path in (p for p in paths if (root / p).is_file() or (root / p).is_symlink()):
        (place / path).parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(root / path, place / path, follow_symlinks=False)


def _distance(one: Path, other: Path) -> int:
    """How many lines differ between two folders."""
    try:
        fix = tree_difference(one, other, "distance")
    except Refused:
        return 0
    return sum(line[:1] in ("+", "-") for f in fix.files for line in f.text.splitlines()[2:])


def reader(tree: Path) -> Callable[[str], str | None]:
    """Reads a tree's files by their paths; None for what is no file of it."""

    def read(path: str) -> str | None:
        place = tree / path
        return place.read_text(errors="surrogateescape") if place.is_file() and not place.is_symlink() else None

    return read
