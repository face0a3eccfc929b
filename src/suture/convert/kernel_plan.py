"""What a newer version of the kernel brings to one that hosts run: its single changes, and which of them may be for
each CVE.

The archive packs the kernel's source patched, and its changelog lists upstream commits by their titles. A commit's own
difference is not in the archive, so a change is hunks that belong together (`suture.source.split`), and for a CVE stand
all changes of the files that the title of its fix may mean (`suture.make_kernel.changelog`).
"""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from suture.make_kernel import built, include
from suture.make_kernel.changelog import StableCommit, commits_between, meant
from suture.make_kernel.include import Includes
from suture.make_kernel.prepare import ROOT, KernelTree, unpacked
from suture.progress import Progress, silent
from suture.source.difference import tree_difference
from suture.source.fix import Fix
from suture.source.plan import reader
from suture.source.split import single_changes

_RULES = re.compile(r"Makefile|Kbuild|Kconfig")
_CODE = (".c", ".h", ".S")
_NO_KERNEL = ("tools/", "samples/", "scripts/", "Documentation/")
_DRIVERS = ("drivers/", "sound/")
"""Where what a kernel lacks is told by the files alone: no other file has what a driver's title means."""


@dataclass(frozen=True)
class SingleChanges:
    """`fixes` are the changes of files that this kernel is built from, those first that close a CVE with the fewest
    others; `unread` how many there are besides. `candidates` are for each CVE the names of all changes that may be for
    it, none where the changelog's title does not tell; `elsewhere` CVEs of other architectures, or of drivers that
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
    every = single_changes(whole, reader(tree.files), reader(newer))
    compiles, includes = built.read(tree).compiles, include.read(tree)
    fixes = [f for f in every if _is_read(f, compiles.keys(), includes)]
    modules = {s: " ".join(m for c in cs for m in c.modules) for s, cs in compiles.items()}
    commits = commits_between(target.changelog(new), target.version, new)
    candidates, elsewhere = claims(commits, every, fixes, modules)
    return SingleChanges(tuple(in_order(fixes, candidates)), len(every) - len(fixes), candidates, elsewhere)


def _is_read(fix: Fix, units: Collection[str], includes: Includes) -> bool:
    """Whether a unit of this kernel may read one of the files, or one of them is a rule of its build."""
    return any(p.path in units or _RULES.match(Path(p.path).name) or includes.units([p.path], units) for p in fix.files)


def claims(
    commits: Sequence[StableCommit], every: Sequence[Fix], fixes: Sequence[Fix], modules: Mapping[str, str]
) -> tuple[dict[str, tuple[str, ...]], frozenset[str]]:
    """For each CVE the names of the changes that may be for it, and the CVEs that are not this kernel's. `modules` are
    names of modules by the source that goes into them."""
    texts: dict[str, str] = {}
    of: dict[str, list[str]] = {}
    for fix in every:
        for part in (p for p in fix.files if p.path.endswith(_CODE) and not p.path.startswith(_NO_KERNEL)):
            texts[part.path] = texts.get(part.path, "") + part.text
            of.setdefault(part.path, []).append(fix.name)
    mine = {f.name for f in fixes}
    candidates: dict[str, tuple[str, ...]] = {}
    elsewhere: set[str] = set()
    for commit in (c for c in commits if c.cves):
        files = sorted(meant(commit, texts, modules))
        own = tuple(dict.fromkeys(n for p in files for n in of[p] if n in mine))
        are_drivers = bool(files) and all(p.startswith(_DRIVERS) for p in files)
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
