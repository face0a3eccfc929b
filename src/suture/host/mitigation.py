"""What an administrator declares mitigated, read strictly: the tables [[mitigation]] of a TOML file, which may be the
agent's policy (docs/reference/agent-policy.md)."""

from __future__ import annotations

import re
from collections.abc import Mapping
from datetime import date, datetime
from pathlib import Path
from typing import Any

from suture.error import ExitCode, SutureError
from suture.report.mitigation import Mitigation

_MOST_BYTES = 1 << 18
_MOST_LETTERS = 1000
_CVE = re.compile(r"CVE-[0-9]{4}-[0-9]{4,19}")
_KEYS = ("cve", "reason", "until")


class BadMitigation(SutureError):
    """A file of mitigations is missing, or does not say what it has to."""

    exit_code = ExitCode.USAGE


def load(path: Path) -> tuple[Mitigation, ...]:
    """The mitigations of a file, whatever else stands in it. Raises `BadMitigation`."""
    import tomllib

    try:
        with open(path, "rb") as file:
            data = file.read(_MOST_BYTES + 1)
        if len(data) > _MOST_BYTES:
            raise BadMitigation(f"{path}: more than {_MOST_BYTES} bytes", "write mitigations, or a policy, there")
        raw = tomllib.loads(data.decode())
    except OSError as problem:
        raise BadMitigation(
            f"{path}: {problem.strerror}", "write tables [[mitigation]] there: docs/reference/agent-policy.md"
        ) from problem
    except (UnicodeDecodeError, tomllib.TOMLDecodeError) as problem:
        raise BadMitigation(
            f"{path}: no TOML: {problem}", "correct that line: a key is written NAME = VALUE, texts in quotation marks"
        ) from problem
    return mitigations(raw, path)


def mitigations(raw: Mapping[str, Any], path: Path) -> tuple[Mitigation, ...]:
    """Those of a file that tomllib has read. Raises `BadMitigation`, which names the table by its number."""
    rows = raw.get("mitigation", [])
    if not isinstance(rows, list) or not all(isinstance(r, dict) for r in rows):
        raise BadMitigation(f"{path}: mitigation is no list of tables", "write [[mitigation]] above each of them")
    found: dict[str, Mitigation] = {}
    for number, row in enumerate(rows, 1):
        one = _mitigation(row, f"{path}: mitigation {number}")
        if one.cve in found:
            raise BadMitigation(
                f"{path}: mitigation {number}: cve: {one.cve} is declared already", "leave one of the two out"
            )
        found[one.cve] = one
    return tuple(found.values())


def _mitigation(row: Mapping[str, Any], where: str) -> Mitigation:
    for key in row:
        if key not in _KEYS:
            raise BadMitigation(f"{where}: {key[:80]} is not known", f"leave it out; known here: {', '.join(_KEYS)}")
    cve, reason, until = (row.get(key) for key in _KEYS)
    if not isinstance(cve, str) or not _CVE.fullmatch(cve):
        raise BadMitigation(f"{where}: cve: is no number of a CVE", 'write for instance cve = "CVE-2026-12345"')
    if not isinstance(reason, str) or not reason.strip() or len(reason) > _MOST_LETTERS:
        raise BadMitigation(
            f"{where}: reason: is no text of 1 to {_MOST_LETTERS} letters",
            'write what keeps the hole from being used: reason = "..."',
        )
    if not isinstance(until, date) or isinstance(until, datetime):
        raise BadMitigation(f"{where}: until: is no day", "write the last day, without quotation marks: 2026-12-31")
    return Mitigation(cve, reason, until)
