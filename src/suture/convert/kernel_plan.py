"""What a newer version of the kernel brings to one that hosts run: its single changes, and which of them may be for
each CVE.

The archive packs the kernel's source patched, and its changelog lists upstream commits by their titles. A commit's own
difference is not in the archive, so a change is hunks that belong together (`suture.source.split`), and for a CVE stand
all changes of the files that the title of its fix may mean (`suture.make_kernel.changelog`).
"""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from suture.error import Refused
from suture.make_kernel import built, include
from suture.make_kernel.changelog import StableCommit, commits_between, meant
from suture.make_kernel.include import Includes
from suture.make_kernel.prepare import ROOT, KernelTree, unpacked
from suture.progress import Progress, silent
from suture.source.difference import tree_difference
from suture.source.fix import FilePatch, Fix
from suture.source.plan import reader
from suture.source.split import single_changes

_OTHER = re.compile(r"arch/(?!x86/)")
_RULES = re.compile(r"Makefile|Kbuild|Kconfig")
_CODE = (".c", ".h", ".S")
_NO_KERNEL = ("tools/", "samples/", "scripts/", "Documentation/")
_DRIVERS = ("drivers/", "sound/")
"""Where what a kernel lacks is told by the files alone: no other file has what a driver's title means."""


@dataclass(frozen=True)
class SingleChanges:
    """`fixes` are the changes of files that this kernel is built from, those first that close a CVE with the fewest
    others; `unread` how many files differ besides. `candidates` are for each CVE the names of all changes that may be
    for it, none where the changelog's title does not tell; `elsewhere` CVEs of other architectures, or of drivers that
    this kernel does not have."""

    fixes: tuple[Fix, ...]
    unread: int
    candidates: Mapping[str, tuple[str, ...]]
    elsewhere: frozenset[str] = frozenset()

    @property
    def cves(self) -> tuple[str, ...]:
        return tuple(sorted(self.candidates.keys() | self.elsewhere))


def plan_kernel(tree: KernelTree, new: str, progress: Progress = silent) -> SingleChanges:
    """The plan from the tree's version to another. Raises `Refused` when nothing differs, and `NotFound`."""
    target = tree.target
    newer = unpacked(target, new, progress) / ROOT.lstrip("/")
    progress(f"comparing linux {target.version} with {new}")
    whole = tree_difference(tree.files, newer, f"{target.version}-to-{new}")
    compiles, includes = built.read(tree).compiles, include.read(tree)
    read = tuple(p for p in whole.files if _is_read(p, compiles.keys(), includes))
    if not read:
        raise Refused(f"linux {new} changes nothing that {target.release} is built from", "there is nothing to make")
    fixes = single_changes(
        replace(whole, files=read), reader(tree.files), reader(newer), lambda p: p.path.endswith(_CODE)
    )
    modules = {s: " ".join(m for c in cs for m in c.modules) for s, cs in compiles.items()}
    commits = commits_between(target.changelog(new), target.version, new)
    candidates, elsewhere = claims(commits, fixes, whole.files, modules)
    return SingleChanges(tuple(in_order(fixes, candidates)), len(whole.files) - len(read), candidates, elsewhere)


def _is_read(part: FilePatch, units: Collection[str], includes: Includes) -> bool:
    """Whether a unit of this kernel may read a file, or come to read one that is new, or it is a rule of its build."""
    if part.path.startswith(_NO_KERNEL) or _OTHER.match(part.path):
        return False
    is_new = part.creates and part.path.endswith(_CODE)
    return is_new or bool(_RULES.match(Path(part.path).name) or includes.units([part.path], units))


def claims(
    commits: Sequence[StableCommit], fixes: Sequence[Fix], files: Sequence[FilePatch], modules: Mapping[str, str]
) -> tuple[dict[str, tuple[str, ...]], frozenset[str]]:
    """For each CVE the names of the changes that may be for it, and the CVEs that are not this kernel's. `files` are
    all that differs, `modules` names of modules by the source that goes into them."""
    texts = {p.path: p.text for p in files if p.path.endswith(_CODE) and not p.path.startswith(_NO_KERNEL)}
    of: dict[str, list[str]] = {}
    for fix in fixes:
        for part in fix.files:
            of.setdefault(part.path, []).append(fix.name)
    candidates: dict[str, tuple[str, ...]] = {}
    elsewhere: set[str] = set()
    for commit in (c for c in commits if c.cves):
        meaning = sorted(meant(commit, texts, modules))
        own = tuple(dict.fromkeys(n for p in meaning for n in of.get(p, ())))
        are_drivers = bool(meaning) and all(p.startswith(_DRIVERS) for p in meaning)
        if commit.is_elsewhere or (are_drivers and not own):
            elsewhere.update(commit.cves)
        else:
            for cve in commit.cves:
                candidates[cve] = tuple(dict.fromkeys((*candidates.get(cve, ()), *own)))
    return candidates, frozenset(elsewhere - candidates.keys())


def in_order(fixes: Sequence[Fix], candidates: Mapping[str, tuple[str, ...]]) -> list[Fix]:
    """Those first that close a CVE with the fewest others, so that work that is ended early has closed some."""
    by_name = {f.name: f for f in fixes}
    ranked = sorted((names for names in candidates.values() if names), key=lambda names: (len(names), names))
    first = dict.fromkeys(n for names in ranked for n in names)
    return [by_name[n] for n in dict.fromkeys((*first, *by_name))]
