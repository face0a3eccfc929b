"""Which changes of a new upstream version are for a CVE, as patches of other versions of the package show them.

A new upstream version brings a fix among thousands of other changes and says of none what it is for. Where another
release of the archive has a patch for the CVE, its lines are looked for among the changes: a change is for the CVE when
all lines of the patch are found in changes of the same files. The name of a file alone, or most of the lines, is not
enough.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from functools import partial

from debian.debian_support import version_compare

from suture.command import CommandFailed
from suture.error import NotFound, Refused
from suture.progress import Progress, silent
from suture.source.archive import Archive, SourceVersion
from suture.source.claim import together
from suture.source.difference import from_series, series
from suture.source.fix import Fix
from suture.source.mirror import RELEASES
from suture.source.split import as_one, is_code
from suture.source.update import Update, newest_that_arrives, versions

_LEAST = 4  # characters of a line that tells anything: no brace, no blank line
_OWN = 25  # characters of a line that hardly stands in two places by chance

_Line = tuple[str, str, str]
"""A file, `+` or `-`, and a line without its blanks."""


@dataclass(frozen=True)
class Witness:
    """The patches of one version of the package that are for one CVE."""

    cve: str
    version: str
    patches: tuple[Fix, ...]

    @property
    def name(self) -> str:
        return f"{', '.join(p.name for p in self.patches)} of {self.version}"


def witnesses(update: Update, cves: Collection[str], progress: Progress = silent) -> tuple[Witness, ...]:
    """What other versions of a source package have for some CVEs: those of its release between the two of an update,
    and the newest of the other releases. What cannot be reached has nothing."""
    found = []
    for version, archive in _between(update, progress):
        with suppress(NotFound, CommandFailed):
            found += list(of_version(_packaging(archive, update.source, version), cves))
    for release in (r for r in RELEASES if r != update.release):
        archive = Archive(release, progress)
        try:
            get = partial(_packaging, archive, update.source)
            found += list(of_version(newest_that_arrives(update.source, archive, get), cves))
        except (NotFound, CommandFailed):
            progress(f"{update.source}: {release} has none that arrives")
    return tuple(found)


def _between(update: Update, progress: Progress) -> Iterator[tuple[str, Archive]]:
    archive = Archive(update.release, progress)
    for version in versions(update.source, archive):
        if version_compare(update.old, version) < 0 < version_compare(update.new, version):
            yield version, archive


def _packaging(archive: Archive, name: str, version: str) -> SourceVersion:
    folder = archive.packaging(name, version)
    return SourceVersion(name, version, archive.release, folder, folder.parent)


def of_version(source: SourceVersion, cves: Collection[str]) -> Iterator[Witness]:
    """What the series of one version has for some CVEs. Of the source only debian/ is read."""
    read = []
    for patch in series(source):
        try:
            read.append(from_series(source, patch))
        except (Refused, NotFound):
            continue
    fixes = together(read)
    for cve in sorted(cves):
        own = tuple(f for f in fixes if cve in f.cves)
        if own:
            yield Witness(cve, source.version, own)


def shown(changes: Sequence[Fix], known: Sequence[Witness]) -> tuple[tuple[Fix, ...], tuple[Fix, ...]]:
    """The changes that are for a CVE, each CVE's as one fix that claims it, and the other changes. CVEs that share a
    change are one fix.

    Each CVE is told by its first witness whose lines are all found.
    """
    index = _Index(changes)
    groups: list[tuple[set[int], dict[str, Witness]]] = []
    for one in known:
        if any(one.cve in cves for _, cves in groups):
            continue
        numbers = index.holding(one)
        if numbers:
            touched = [g for g in groups if g[0] & numbers]
            cves = {one.cve: one}
            for group in touched:
                numbers |= group[0]
                cves |= group[1]
                groups.remove(group)
            groups.append((numbers, cves))
    taken = {n for numbers, _ in groups for n in numbers}
    fixes = tuple(_joined([changes[n] for n in sorted(numbers)], cves) for numbers, cves in groups)
    return fixes, tuple(c for n, c in enumerate(changes) if n not in taken)


def _joined(changes: Sequence[Fix], cves: Mapping[str, Witness]) -> Fix:
    """As one fix, whose name tells what it is known by."""
    name = ", ".join(f"{cve} (as in {one.name})" for cve, one in sorted(cves.items()))
    return replace(as_one(changes, name), cves=tuple(sorted(cves)))


class _Index:
    """The lines of many changes."""

    def __init__(self, changes: Sequence[Fix]) -> None:
        self.holders: dict[_Line, set[int]] = defaultdict(set)
        self.added: dict[str, set[int]] = defaultdict(set)
        for number, change in enumerate(changes):
            for line in _lines(change):
                self.holders[line].add(number)
                if line[1] == "+" and len(line[2]) >= _OWN:
                    self.added[line[2]].add(number)

    def holding(self, one: Witness) -> set[int]:
        """The changes that hold all lines of a witness, and those that bring one of its lines into another file: the
        same fix at a second place. Empty where a line is in none."""
        lines = {line for patch in one.patches for line in _lines(patch)}
        if not lines or any(line not in self.holders for line in lines):
            return set()
        found = {n for line in lines if len(self.holders[line]) == 1 for n in self.holders[line]}
        for line in lines:
            if not self.holders[line] & found:
                found |= self.holders[line]
        for _, sign, text in lines:
            if sign == "+":
                found |= self.added.get(text, set())
        return found


def _lines(fix: Fix) -> Iterator[_Line]:
    for file in (f for f in fix.files if is_code(f)):
        for line in file.text.splitlines():
            text = " ".join(line[1:].split())
            if line[:1] in ("+", "-") and len(text) >= _LEAST and not line.startswith(("+++ ", "--- ")):
                yield file.path, line[0], text
