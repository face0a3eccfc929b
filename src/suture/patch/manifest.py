"""The manifest of a live patch as typed facts, and its JSON form (docs/reference/patch-format.md).

Parsed once, here; no dict goes past this module. Standard library only.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import asdict, dataclass, field
from enum import Enum
from typing import Any, TypeVar

from suture.delta.ledger import Account, FileAccount, Ledger, Lines
from suture.error import ExitCode, SutureError
from suture.match.proof import Proof
from suture.number import BuildId, Vaddr
from suture.patch import strict_json
from suture.patch.consistency import Consistency
from suture.patch.field import Read, Reader, members, number, raw_text, rows, text
from suture.patch.tripwire import Tripwire, WithoutTripwire
from suture.report.reason import Reason

FORMAT = 2
_MOST_BYTES, _MOST_VALUES = 16 << 20, 2 << 20
_SHOWN = 200
_NOWHERE = Vaddr(0)
T = TypeVar("T")


class BadPatch(SutureError):
    """The patch file is truncated, altered, foreign, or breaks the format."""

    exit_code = ExitCode.BAD_PATCH

    def __init__(self, name: str, why: str, *, reason: Reason = Reason.PATCH_MALFORMED) -> None:
        super().__init__(f"{name}: {why}", "fetch the patch again, or make it again with: suture make", reason=reason)


class SymbolKind(Enum):
    """How an undefined symbol of the patch is resolved in a process."""

    IMAGE = "image"
    SLOT = "slot"
    IMPORT = "import"


@dataclass(frozen=True)
class Target:
    """The binary that the patch is for. `version` is the source package's."""

    build_id: BuildId
    file: str
    package: str
    source: str
    version: str
    architecture: str


@dataclass(frozen=True)
class NamedCve:
    """A CVE that a fix names and does not claim, and why. `is_part`: the fix is for it, and is not all that closes
    it."""

    cve: str
    reason: str
    is_part: bool


@dataclass(frozen=True)
class FixFact:
    """One fix that went in. `sha256` is that of the patch text that was applied.

    `cves` are those that the fix is for; which of them this patch closes is for `ledger` to say.
    """

    name: str
    cves: tuple[str, ...]
    sha256: str
    ledger: Ledger = field(default_factory=Ledger)
    named: tuple[NamedCve, ...] = ()


@dataclass(frozen=True)
class ReplacedFunction:
    """An old function and what takes its place. Addresses are link-time, sizes in bytes; `new` and `orig` are symbols
    of the object.

    `endless`: the old function loops and has no way to return, as main loops do; a thread in it stays in it.
    `code`: the old function as compiled, in hex digits, dots where the linker fills in: copies of it elsewhere are
    found by it. Empty where the new code cannot be told from it.
    """

    name: str
    address: Vaddr
    size: int
    sha256: str
    entry: int
    displaced: int
    new: str
    orig: str
    consistency: Consistency = Consistency.STRICT
    endless: bool = False
    code: str = ""


@dataclass(frozen=True)
class OldPart:
    """Old code that no jump diverts but that no thread may be inside when the group switches: cold parts, functions
    that are gone."""

    name: str
    address: Vaddr
    size: int


@dataclass(frozen=True)
class Suspending:
    """A function of the target in which a suspended coroutine stands: the last frame on its stack is this one's, saved
    by sigsetjmp (`address` link-time)."""

    name: str
    address: Vaddr
    size: int


@dataclass(frozen=True)
class Group:
    """Functions that switch in one stop."""

    name: str
    functions: tuple[ReplacedFunction, ...]
    parts: tuple[OldPart, ...] = ()


@dataclass(frozen=True)
class ImportedSymbol:
    """An undefined symbol's resolution. `address` counts for IMAGE and SLOT; `name` and `version` for IMPORT."""

    kind: SymbolKind
    address: Vaddr = _NOWHERE
    name: str = ""
    version: str = ""


@dataclass(frozen=True)
class RefusedFunction:
    """A changed function that is not in the patch, and why."""

    function: str
    file: str
    line: int
    reason: str
    remedy: str


@dataclass(frozen=True)
class Review:
    """What a person should look at before a patch is applied without one: `kind` is `lock`, `reference`, `wait`,
    `start` or `error`."""

    kind: str
    function: str
    file: str
    what: str


class Grade(Enum):
    """Whether a patch may be applied automatically."""

    SAFE = "safe"  # function bodies alone, and every check passes
    REVIEW = "review"  # the same, and something that a person should look at
    REFUSED = "refused"  # part of the fix is missing


@dataclass(frozen=True)
class Verdict:
    """`safe` says that everything the fix changes is in the patch."""

    safe: bool
    notes: tuple[str, ...] = ()
    refused: tuple[RefusedFunction, ...] = ()
    review: tuple[Review, ...] = ()


@dataclass(frozen=True)
class Manifest:
    """Everything that a live patch says about itself. `request` are the options of `suture make` that made it.

    `relaxed` is the reason why old frames may finish in old code, "" for a strict patch.
    `exceptions`: one may have to pass through the new code, so a process must have a C++ runtime that can be told of
    it. `tripwires` count attempts, and `without_tripwire` is what rejects something uncounted; both are empty in a
    patch that was made without them.
    """

    name: str
    target: Target
    fixes: tuple[FixFact, ...]
    groups: tuple[Group, ...]
    symbols: dict[str, ImportedSymbol]
    supersedes: tuple[str, ...] = ()
    verdict: Verdict = Verdict(True)
    proof: Proof = field(default_factory=Proof)
    toolchain: dict[str, str] = field(default_factory=dict)
    request: dict[str, tuple[str, ...]] = field(default_factory=dict)
    suspends: tuple[Suspending, ...] = ()
    relaxed: str = ""
    exceptions: bool = False
    tripwires: tuple[Tripwire, ...] = ()
    without_tripwire: tuple[WithoutTripwire, ...] = ()

    @property
    def functions(self) -> tuple[ReplacedFunction, ...]:
        return tuple(f for g in self.groups for f in g.functions)

    @property
    def is_complete(self) -> bool:
        """Whether all that the fixes change in this binary is in the patch."""
        return self.verdict.safe and all(fix.ledger.is_complete for fix in self.fixes)

    @property
    def grade(self) -> Grade:
        """Whether the patch may be applied automatically."""
        if not self.is_complete:
            return Grade.REFUSED
        return Grade.REVIEW if self.verdict.review or self.relaxed else Grade.SAFE

    @property
    def missing(self) -> tuple[str, ...]:
        """Why parts of the fixes are not in the patch."""
        refused = (f"{r.file}{f': {r.function}' if r.function else ''}: {r.reason}" for r in self.verdict.refused)
        return (*refused, *(a.reason for fix in self.fixes for a in fix.ledger.missing))

    @property
    def cves(self) -> tuple[str, ...]:
        """CVEs that this patch closes by itself."""
        return tuple(c for c, others in closed(self.fixes).items() if not others)

    @property
    def shared_cves(self) -> dict[str, tuple[str, ...]]:
        """CVEs that it closes together with the patches of other binaries, which are named."""
        return {c: others for c, others in closed(self.fixes).items() if others}

    @property
    def named_cves(self) -> tuple[str, ...]:
        """All CVEs that its fixes are for, wholly or in part, closed or not."""
        parts = {n.cve for fix in self.fixes for n in fix.named if n.is_part}
        return tuple(sorted(parts.union(*(fix.cves for fix in self.fixes))))

    def to_json(self) -> bytes:
        """Canonical JSON: keys sorted, no spaces, ASCII (bytes of a fix that are no UTF-8 are escaped surrogates)."""
        top = {k: v for k, v in plain(asdict(self)).items() if v or k not in LATER}
        return json.dumps({"format": FORMAT, **top}, sort_keys=True, separators=(",", ":")).encode()


def closed(fixes: Iterable[FixFact]) -> dict[str, tuple[str, ...]]:
    """CVEs of which nothing is missing in any fix that is for them, each with the other binaries that have a part of
    their own.

    Such a CVE is closed where the patches of these binaries are in force too.
    """
    parts: dict[str, list[Ledger]] = {}
    for fix in fixes:
        for cve in fix.cves:
            parts.setdefault(cve, []).append(fix.ledger)
    return {
        cve: tuple(sorted({o for ledger in ledgers for o in ledger.others}))
        for cve, ledgers in sorted(parts.items())
        if all(ledger.is_complete for ledger in ledgers)
    }


def parse_manifest(raw: bytes, name: str) -> Manifest:
    """Raises `BadPatch` for anything that is not a manifest of this format."""
    return read_manifest(raw, name, Manifest, _READER, later=LATER)


def read_manifest(raw: bytes, name: str, schema: type[T], reader: Reader, later: Iterable[str] = (), **marks: str) -> T:
    """The dataclass `schema` from the JSON of a manifest, which has the members `format` and `marks` too and no others;
    lists of the names `later` are left out where they are empty.

    Raises `BadPatch` for anything else.
    """
    try:
        top = members(strict_json.loads(raw, _MOST_BYTES, _MOST_VALUES))
        stated = number(top.pop("format", None))
        if stated != FORMAT:
            raise BadPatch(name, f"manifest format {stated} is not {FORMAT}")
        if {mark: top.pop(mark, None) for mark in marks} != marks:
            raise ValueError(f"no manifest with {marks}")
        for member in later:
            if top.setdefault(member, None) == []:
                raise ValueError(f"an empty {member} is left out")
            top[member] = [] if top[member] is None else top[member]
        return reader.read(top, schema)
    except (ValueError, TypeError) as problem:
        raise BadPatch(name, f"the manifest is malformed ({repr(problem)[:_SHOWN]})") from problem


def _lines(value: Any) -> tuple[Lines, ...]:
    """Ranges in order, none of which touch or overlap."""
    found: list[Lines] = []
    for row in rows(value):
        first, last = rows(row)
        one = Lines(number(first), number(last))
        if not (found[-1].last + 1 if found else 0) < one.first <= one.last:
            raise ValueError(f"{row!r} is no range of lines, or is out of order")
        found.append(one)
    return tuple(found)


def _code(value: Any) -> str:
    if not isinstance(value, str) or len(value) % 2 or not set(value) <= set("0123456789abcdef."):
        raise TypeError("the code of a function is no hex digits and dots")
    return value


def read_request(value: Any) -> dict[str, tuple[str, ...]]:
    """Options by their name; the text of a fix is one of them."""
    return {text(k): tuple(raw_text(t) for t in rows(v)) for k, v in members(value).items()}


OWN: dict[tuple[type, str], Read] = {
    (FileAccount, "path"): raw_text,
    (Account, "removed"): _lines,
    (Account, "added"): _lines,
    (ReplacedFunction, "code"): _code,
    (Manifest, "request"): read_request,
}
"""Readers of fields that are in manifests of both kinds, or in this one."""
_READER = Reader(OWN)
LATER = ("tripwires", "without_tripwire")
"""Members that patches without tripwires do not have, so that they are what they were before there were any."""


def plain(value: Any) -> Any:
    """A copy that is ready for JSON: enums become their values, ranges of lines pairs."""
    if isinstance(value, Enum):
        return value.value
    if isinstance(value, dict):
        return {k: plain(v) for k, v in value.items()}
    if isinstance(value, list | tuple):
        return [plain(v) for v in value]
    return value
