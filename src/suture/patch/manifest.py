"""The manifest of a live patch as typed facts, and its JSON form (docs/patch-format.md).

Parsed once, here; no dict goes past this module. Standard library only.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import asdict, dataclass, field
from enum import Enum
from typing import Any

from suture.delta.ledger import Account, Fate, FileAccount, Ledger, Lines
from suture.error import ExitCode, SutureError
from suture.match.proof import MatchedSection, MatchedUnit, Proof, ProvenSymbol
from suture.patch import strict_json
from suture.patch.consistency import Consistency

FORMAT = 2
MOST_TEXT = 16384
"""Characters of a name or a note, many times what any has. Texts of fixes are longer; the manifest as a whole has a bound too."""
_MOST_BYTES, _MOST_VALUES = 16 << 20, 2 << 20
_SHOWN = 200


class BadPatch(SutureError):
    """The patch file is truncated, altered, foreign, or breaks the format."""

    exit_code = ExitCode.BAD_PATCH

    def __init__(self, name: str, reason: str) -> None:
        super().__init__(f"{name}: {reason}", "fetch the patch again, or make it again with: suture make")


class SymbolKind(Enum):
    """How an undefined symbol of the patch is resolved in a process."""

    IMAGE = "image"
    SLOT = "slot"
    IMPORT = "import"


@dataclass(frozen=True)
class Target:
    """The binary that the patch is for. `version` is the source package's."""

    build_id: str
    file: str
    package: str
    source: str
    version: str
    architecture: str


@dataclass(frozen=True)
class Fix:
    """One fix that went in. `sha256` is that of the patch text that was applied.

    `cves` are those that the fix is for; which of them this patch closes is for `ledger` to say.
    """

    name: str
    cves: tuple[str, ...]
    sha256: str
    ledger: Ledger = field(default_factory=Ledger)


@dataclass(frozen=True)
class ReplacedFunction:
    """An old function and what takes its place. Addresses are link-time, sizes in bytes; `new` and `orig` are symbols of the object.

    `endless`: the old function loops and has no way to return, as main loops do; a thread in it stays in it.
    `code`: the old function as compiled, in hex digits, dots where the linker fills in: copies of it elsewhere are found by it. Empty
    where the new code cannot be told from it.
    """

    name: str
    address: int
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
    """Old code that no jump diverts but that no thread may be inside when the group switches: cold parts, functions that are gone."""

    name: str
    address: int
    size: int


@dataclass(frozen=True)
class Suspending:
    """A function of the target in which a suspended coroutine stands: the last frame on its stack is this one's, saved by sigsetjmp
    (`address` link-time)."""

    name: str
    address: int
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
    address: int = 0
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
class Verdict:
    """`safe` says that everything the fix changes is in the patch."""

    safe: bool
    notes: tuple[str, ...] = ()
    refused: tuple[RefusedFunction, ...] = ()


@dataclass(frozen=True)
class Manifest:
    """Everything that a live patch says about itself. `request` are the options of `suture make` that made it.

    `relaxed` is the reason why old frames may finish in old code, "" for a strict patch.
    `exceptions`: one may have to pass through the new code, so a process must have a C++ runtime that can be told of it.
    """

    name: str
    target: Target
    fixes: tuple[Fix, ...]
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

    @property
    def functions(self) -> tuple[ReplacedFunction, ...]:
        return tuple(f for g in self.groups for f in g.functions)

    @property
    def is_complete(self) -> bool:
        """Whether all that the fixes change in this binary is in the patch."""
        return self.verdict.safe and all(fix.ledger.is_complete for fix in self.fixes)

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
        """All CVEs that its fixes are for, closed or not."""
        return tuple(sorted({c for fix in self.fixes for c in fix.cves}))

    def to_json(self) -> bytes:
        """Canonical JSON: keys sorted, no spaces, ASCII (bytes of a fix that are no UTF-8 are escaped surrogates)."""
        return json.dumps({"format": FORMAT, **plain(asdict(self))}, sort_keys=True, separators=(",", ":")).encode()


def closed(fixes: Iterable[Fix]) -> dict[str, tuple[str, ...]]:
    """CVEs of which nothing is missing in any fix that is for them, each with the other binaries that have a part of their own.

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
    try:
        top = strict_json.loads(raw, _MOST_BYTES, _MOST_VALUES)
        if _address(top["format"]) != FORMAT:
            raise BadPatch(name, f"manifest format {top['format']} is not {FORMAT}")
        return _manifest(top)
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as problem:
        raise BadPatch(name, f"the manifest is malformed ({repr(problem)[:_SHOWN]})") from problem


def _manifest(top: dict[str, Any]) -> Manifest:
    return Manifest(
        name=_str(top["name"]),
        target=Target(**{k: _str(v) for k, v in top["target"].items()}),
        fixes=parse_fixes(top["fixes"]),
        groups=tuple(_group(g) for g in _list(top["groups"])),
        symbols={_str(n): _symbol(s) for n, s in top["symbols"].items()},
        supersedes=_strs(top["supersedes"]),
        verdict=_verdict(top["verdict"]),
        proof=parse_proof(top["proof"]),
        toolchain={_str(k): _str(v) for k, v in top["toolchain"].items()},
        request={_str(k): tuple(_raw(t) for t in _list(v)) for k, v in top["request"].items()},
        suspends=tuple(
            Suspending(_str(s["name"]), _address(s["address"]), _address(s["size"])) for s in _list(top["suspends"])
        ),
        relaxed=_str(top["relaxed"]),
        exceptions=_flag(top["exceptions"]),
    )


def parse_fixes(rows: Any) -> tuple[Fix, ...]:
    """Raises ValueError, KeyError or TypeError for anything that is none."""
    return tuple(Fix(_str(f["name"]), _strs(f["cves"]), _str(f["sha256"]), _ledger(f["ledger"])) for f in _list(rows))


def _ledger(row: dict[str, Any]) -> Ledger:
    return Ledger(
        tuple(
            FileAccount(_raw(f["path"]), tuple(_account(a) for a in _list(f["accounts"]))) for f in _list(row["files"])
        )
    )


def _account(row: dict[str, Any]) -> Account:
    return Account(
        Fate(row["fate"]),
        _lines(row["removed"]),
        _lines(row["added"]),
        _strs(row["functions"]),
        _address(row["units"]),
        _strs(row["others"]),
        _str(row["reason"]),
        _str(row["remedy"]),
    )


def _lines(rows: Any) -> tuple[Lines, ...]:
    """Ranges in order, none of which touch or overlap."""
    found: list[Lines] = []
    for row in _list(rows):
        first, last = _list(row)
        one = Lines(_address(first), _address(last))
        if not (found[-1].last + 1 if found else 0) < one.first <= one.last:
            raise ValueError(f"{row!r} is no range of lines, or is out of order")
        found.append(one)
    return tuple(found)


def _group(row: dict[str, Any]) -> Group:
    parts = tuple(OldPart(_str(p["name"]), _address(p["address"]), _address(p["size"])) for p in _list(row["parts"]))
    return Group(_str(row["name"]), tuple(_function(f) for f in _list(row["functions"])), parts)


def _function(row: dict[str, Any]) -> ReplacedFunction:
    return ReplacedFunction(
        _str(row["name"]),
        _address(row["address"]),
        _address(row["size"]),
        _str(row["sha256"]),
        _address(row["entry"]),
        _address(row["displaced"]),
        _str(row["new"]),
        _str(row["orig"]),
        Consistency(row["consistency"]),
        _flag(row["endless"]),
        _code(row["code"]),
    )


def _symbol(row: dict[str, Any]) -> ImportedSymbol:
    return ImportedSymbol(SymbolKind(row["kind"]), _address(row["address"]), _str(row["name"]), _str(row["version"]))


def _verdict(row: dict[str, Any]) -> Verdict:
    refused = tuple(
        RefusedFunction(_str(r["function"]), _str(r["file"]), _address(r["line"]), _str(r["reason"]), _str(r["remedy"]))
        for r in _list(row["refused"])
    )
    return Verdict(_flag(row["safe"]), _strs(row["notes"]), refused)


def parse_proof(row: dict[str, Any]) -> Proof:
    """Raises ValueError, KeyError or TypeError for anything that is none."""
    units = tuple(
        MatchedUnit(
            _str(u["source"]),
            _str(u["object"]),
            _flag(u["whole"]),
            tuple(
                MatchedSection(_str(s["name"]), _address(s["size"]), _address(s["compared"]), _address(s["address"]))
                for s in _list(u["sections"])
            ),
            _strs(u["agreed_symbols"]),
        )
        for u in _list(row["units"])
    )
    symbols = tuple(
        ProvenSymbol(_str(s["name"]), _address(s["address"]), _strs(s["implied_by"])) for s in _list(row["symbols"])
    )
    return Proof(units, symbols)


def plain(value: Any) -> Any:
    """A copy that is ready for JSON: enums become their values, ranges of lines pairs."""
    if isinstance(value, Enum):
        return value.value
    if isinstance(value, dict):
        return {k: plain(v) for k, v in value.items()}
    if isinstance(value, list | tuple):
        return [plain(v) for v in value]
    return value


def _str(value: Any) -> str:
    if not isinstance(value, str):
        raise TypeError(f"{_short(value)} is not a string")
    if len(value) > MOST_TEXT:
        raise ValueError(f"{_short(value)} has {len(value)} characters, more than {MOST_TEXT}")
    value.encode()  # a lone surrogate can be neither shown nor written again
    return value


def _short(value: Any) -> str:
    return repr(value if not isinstance(value, list | dict) else type(value))[:_SHOWN]


def _raw(value: Any) -> str:
    """A text that may hold bytes which are no UTF-8, as a fix may: escaped as os.fsdecode does (PEP 383)."""
    if not isinstance(value, str):
        raise TypeError(f"{_short(value)} is not a string")
    value.encode(errors="surrogateescape")
    return value


def _strs(value: Any) -> tuple[str, ...]:
    return tuple(_str(v) for v in _list(value))


def _list(value: Any) -> list[Any]:
    if not isinstance(value, list):
        raise TypeError(f"{_short(value)} is not a list")
    return value


def _code(value: Any) -> str:
    if not isinstance(value, str) or len(value) % 2 or not set(value) <= set("0123456789abcdef."):
        raise TypeError("the code of a function is no hex digits and dots")
    return value


def _flag(value: Any) -> bool:
    if not isinstance(value, bool):
        raise TypeError(f"{_short(value)} is neither true nor false")
    return value


def _address(value: Any) -> int:
    if not isinstance(value, int) or isinstance(value, bool) or not 0 <= value < 1 << 64:
        raise TypeError(f"{_short(value)} is not an address or size")
    return value
