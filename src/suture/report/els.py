"""Fixes that an older release needs of a newer one, and what came of carrying them back."""

from __future__ import annotations

from dataclasses import dataclass


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
