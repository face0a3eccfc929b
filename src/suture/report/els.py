"""Fixes that an older release needs of a newer one, and what came of carrying them back."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import Enum


@dataclass(frozen=True)
class NeededFix:
    """A fix that the older release lacks: its CVEs, and the patches of the newer release's series that make it."""

    cves: tuple[str, ...]
    patches: tuple[str, ...]


@dataclass(frozen=True)
class BackportedFile:
    """A file of the older release with the change, and the way that made it: patch, merge, merge of tokens, merge by
    function, or copy."""

    path: str
    way: str


@dataclass(frozen=True)
class BackportFinding:
    """What speaks against a backport. `kind` names it for programs, `path` is the file of the newer release, `about`
    the functions, names or code that it concerns (may be empty)."""

    kind: str
    path: str
    about: str
    reason: str


@dataclass(frozen=True)
class BackportedFix:
    """What came of one fix. `state`: `whole`, `there` (the older release has it already) or `handed over` (to a
    person). `path` is the patch that was written, empty for none; `left_out` are documents and tests."""

    cves: tuple[str, ...]
    patches: tuple[str, ...]
    state: str
    path: str
    files: tuple[BackportedFile, ...]
    findings: tuple[BackportFinding, ...]
    left_out: tuple[str, ...]


class ElsGrade(Enum):
    """Whether a backport may be published without a person's word."""

    SAFE = "safe"
    REVIEW = "review"


class TestsOutcome(Enum):
    """What a package's own tests, run as it is built, say of the fixes."""

    __test__ = False

    PASSED = "passed"
    AS_BEFORE = "as before"
    WORSE = "worse"
    NONE = "none"


@dataclass(frozen=True)
class PackageTests:
    """The package's own tests. `before` and `after` are what they counted without and with the fixes (by the words that
    they count in, empty where they count nothing); `detail` is a sentence."""

    outcome: TestsOutcome
    before: Mapping[str, int]
    after: Mapping[str, int]
    detail: str


@dataclass(frozen=True)
class BuiltDifference:
    """Something that differs between the packages with the fixes and those without, in the `file` of a binary
    `package`. `kind`: function, file, needed, soname, symbol, or data. `expected` is whether the fixes mean to change
    it, or it is a document."""

    package: str
    file: str
    kind: str
    what: str
    expected: bool


@dataclass(frozen=True)
class BuiltFile:
    """A file of the built package: its name in the folder, its size in bytes and its SHA-256 in hex."""

    name: str
    bytes: int
    sha256: str


@dataclass(frozen=True)
class BuiltFix:
    """A fix in a built package. `patch` is its name in the series, `doubts` why a person has to look."""

    cves: tuple[str, ...]
    patch: str
    origin: str
    ways: tuple[str, ...]
    grade: ElsGrade
    doubts: tuple[str, ...]


class PublishState(Enum):
    """What became of a built package. `waiting`: it needs a person's word."""

    PUBLISHED = "published"
    THERE = "there already"
    WAITING = "waiting"


@dataclass(frozen=True)
class PublishedPackage:
    """A built version of a package, and what became of it. `files` are those that were added, `why` what it waits
    for."""

    package: str
    version: str
    cves: tuple[str, ...]
    grade: ElsGrade
    state: PublishState
    files: tuple[str, ...]
    why: tuple[str, ...]


class ElsHoleState(Enum):
    """Where a CVE stands in an older release, from what was done and what is proved. `not proved`: the older release
    lacks the names or files that the fix is about, which makes it likely that it is not affected and proves nothing."""

    OPEN = "open"
    HANDED_OVER = "handed over"
    WAITING = "waiting for a person"
    BUILT = "built"
    PACKAGE = "fixed in a package"
    THERE = "there already"
    NOT_PROVED = "not affected, not proved"


@dataclass(frozen=True)
class ElsHole:
    """A fix that an older release lacks. `made` is the version of the package that has it, "" for none. `live` says
    what came of the live patches for its CVEs, "" where none were made. `reasons` why it is no further."""

    cves: tuple[str, ...]
    patches: tuple[str, ...]
    state: ElsHoleState
    made: str
    live: str
    reasons: tuple[str, ...]


@dataclass(frozen=True)
class ElsPackage:
    """A source package of an older release: its `version`, the newer release's, when both were compared, and its
    holes."""

    package: str
    version: str
    from_version: str
    compared: str
    holes: tuple[ElsHole, ...]
