"""What the kernel's changelog says of a version: titles of upstream commits with their CVEs, and the files that a title
may mean.

The archive's changelog lists the commits of each stable release by their titles, and a CVE behind the title of its fix.
It does not say which files a commit changes. A title begins with words for the part of the kernel that it is about
(Documentation/process/submitting-patches.rst, "The canonical patch format"), and often names a function.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from debian.debian_support import version_compare

from suture.source.subject import CVE

_ENTRY = re.compile(r"^(?=linux\S* \([^)]+\) )", re.MULTILINE)
_VERSION = re.compile(r"linux\S* \(([^)]+)\) ")
_ITEM = re.compile(r"^[ \t]+[-*] ", re.MULTILINE)
_END = re.compile(r"^(?: -- |\s*\[ [^\]]+\]\s*$)", re.MULTILINE)
_CLOSED = re.compile(r"\s*\((?:CVE-|Closes:|regression)[^)]*\)")
_TAGS = re.compile(r"\[([\w*,!/ -]+)\]\s*")
_OURS = frozenset({"x86", "amd64", "x86_64"})
_PART = re.compile(r"[\w./,&+ -]{1,40}")
_IDENTIFIER = re.compile(r"\b([A-Za-z_]\w*)\(\)|\b([A-Za-z]\w*_\w+)\b")
_SHORT = 4


@dataclass(frozen=True)
class StableCommit:
    """One commit as the changelog lists it. `is_elsewhere`: it is for other architectures than x86-64 alone."""

    title: str
    cves: tuple[str, ...] = ()
    is_elsewhere: bool = False

    @property
    def subsystem(self) -> tuple[str, ...]:
        """The words before the last colon, in lower case and with `_` for `-`."""
        parts = self.title.split(": ")[:-1]
        names = [p for p in parts if _PART.fullmatch(p) and len(p.split()) <= 3]
        return tuple(w for p in names for w in re.findall(r"[a-z0-9_]+", _plain(p)))

    @property
    def identifiers(self) -> frozenset[str]:
        """Names of functions and the like that the title has behind its subsystem."""
        rows = _IDENTIFIER.findall(self.title.split(": ")[-1])
        return frozenset(n for pair in rows for n in pair if len(n) >= _SHORT)


def commits_between(changelog: str, old: str, new: str) -> tuple[StableCommit, ...]:
    """The commits of the entries after one version and up to another, in their order."""
    found = []
    for entry in _ENTRY.split(changelog):
        version = _VERSION.match(entry)
        if version and version_compare(old, version[1]) < 0 <= version_compare(new, version[1]):
            found += [_commit(_END.split(item)[0]) for item in _ITEM.split(entry)[1:]]
    return tuple(found)


def _commit(item: str) -> StableCommit:
    text = re.sub(r"\s+", " ", item).strip()
    tags, cves = _TAGS.match(text), tuple(dict.fromkeys(CVE.findall(text)))
    words = set(re.split(r"[,/ ]+", tags[1])) if tags else set()
    bare = text[tags.end() :] if tags else text
    return StableCommit(_CLOSED.sub("", bare), cves, bool(words) and not words & _OURS)


def meant(commit: StableCommit, texts: Mapping[str, str], modules: Mapping[str, str]) -> frozenset[str]:
    """The files that a title may mean, of those that change; none where it does not tell. `texts` are differences and
    `modules` names of modules, both by file.

    Those whose path or module has each word of the subsystem, and where the title names a function or the like, of them
    those whose difference has that name. All that changes in these files may be the commit.
    """
    words = set(commit.subsystem)
    near = frozenset(p for p in texts if words and words <= _words_of(p, modules.get(p, "")))
    named = frozenset(p for p in near for n in commit.identifiers if re.search(rf"\b{n}\b", texts[p]))
    return named or near


def _words_of(path: str, modules: str) -> set[str]:
    parts = [_plain(p) for p in (*Path(path).parts[:-1], Path(path).stem, *modules.split())]
    return {w for p in parts for w in (p, *p.split("_"))}


def _plain(word: str) -> str:
    return word.lower().replace("-", "_")
