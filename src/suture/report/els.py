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


class CarriedBy(Enum):
    """How a file got its change; `by hand`: a person wrote it."""

    PATCH = "patch"
    MERGE = "merge"
    TOKENS = "merge of tokens"
    FUNCTIONS = "merge by function"
    COPY = "copy"
    HAND = "by hand"


class Objection(Enum):
    """Why a fix cannot be carried to an older release without a person."""

    CONFLICT = "conflict"
    DISAGREE = "methods disagree"
    ELSEWHERE = "another function"
    REMAINS = "another place"
    UNKNOWN = "prerequisite missing"
    ABSENT = "no such file"
    REMOVED = "file removed"
    THERE = "there already"


class FixState(Enum):
    """What came of carrying a fix. `there`: the older release has it already; `handed over`: to a person."""

    WHOLE = "whole"
    THERE = "there"
    HANDED_OVER = "handed over"


@dataclass(frozen=True)
class BackportedFile:
    """A file of the older release with the change, and the way that made it."""

    path: str
    way: CarriedBy


@dataclass(frozen=True)
class BackportFinding:
    """What speaks against a backport. `path` is the file of the newer release, `about`
    the functions, names or code that it concerns (may be empty)."""

    kind: Objection
    path: str
    about: str
    reason: str


@dataclass(frozen=True)
class BackportedFix:
    """What came of one fix. `path` is the patch that was written, empty for none; `left_out` are documents and
    tests."""

    cves: tuple[str, ...]
    patches: tuple[str, ...]
    state: FixState
    path: str
    files: tuple[BackportedFile, ...]
    findings: tuple[BackportFinding, ...]
    left_out: tuple[str, ...]


@dataclass(frozen=True)
class ConflictSides:
    """A place where the older release's text is another than what the fix was made for: that text, the older release's,
    and what the fix makes of the first."""

    before: str
    older: str
    newer: str


@dataclass(frozen=True)
class ReviewedFile:
    """Both sides of one file: what the fix changes in the newer release and what was made of it in the older one, as
    unified diffs ("" for nothing), and where they do not fit. `path` is the newer release's."""

    path: str
    newer: str
    older: str
    conflicts: tuple[ConflictSides, ...]


@dataclass(frozen=True)
class ReviewedFix:
    """A fix for a person to look at: what came of carrying it, and its files from both sides."""

    fix: BackportedFix
    files: tuple[ReviewedFile, ...]


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
    they count in, empty where they count nothing); `detail` is a sentence. `failing` are the tests that fail, as far as
    the log names them: with the fixes and without them where the outcome is `as before`."""

    outcome: TestsOutcome
    before: Mapping[str, int]
    after: Mapping[str, int]
    detail: str
    failing: tuple[str, ...] = ()


class DifferenceKind(Enum):
    """What of a binary package differs: a function, a file that comes or goes, a library that is needed, the SONAME, an
    exported symbol, or contents."""

    FUNCTION = "function"
    FILE = "file"
    NEEDED = "needed"
    SONAME = "soname"
    SYMBOL = "symbol"
    DATA = "data"


@dataclass(frozen=True)
class BuiltDifference:
    """Something that differs between the packages with the fixes and those without, in the `file` of a binary
    `package`. `expected` is whether the fixes mean to change it, or it is a document."""

    package: str
    file: str
    kind: DifferenceKind
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
