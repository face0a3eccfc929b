"""A spec file with more patches (https://rpm-software-management.github.io/rpm/manual/spec.html): their tags, the
commands that apply them, the release and the changelog."""

from __future__ import annotations

import re
from collections.abc import Sequence

from suture.error import Unsupported

_TAG = re.compile(r"(?:Source|Patch)(\d*)\s*:", re.I)
_PATCH = re.compile(r"Patch(\d*)\s*:", re.I)
_RELEASE = re.compile(r"(Release\s*:\s*)(\S+)\s*\Z", re.I)
_OWN = re.compile(r"\.suture(\d+)\Z")
_SECTION = re.compile(r"%(?:description|package|prep|build|install|check|files|changelog|pre|post|preun|postun)\b")


def patched_spec(spec: str, patches: Sequence[str], entry: str) -> str:
    """The spec with patches of these file names, applied after its own with one leading folder stripped. `entry` is a
    whole entry of %changelog. Raises `Unsupported` for a spec that unpacks in no way known here."""
    rows = spec.split("\n")
    first = 1 + max((int(m[1] or 0) for r in rows if (m := _PATCH.match(r))), default=-1)
    numbers = {first + n: name for n, name in enumerate(patches)}
    rows = [_released(r) for r in rows]
    tags = [n for n, r in enumerate(rows) if _TAG.match(r)]
    if not tags:
        raise Unsupported("the spec has no Source and no Patch", "add the patch by hand")
    rows[tags[-1] + 1 : tags[-1] + 1] = [f"Patch{number}: {name}" for number, name in numbers.items()]
    rows = _prepared(rows, list(numbers))
    at = next((n for n, r in enumerate(rows) if r.strip() == "%changelog"), None)
    if at is None:
        return "\n".join([*rows, "%changelog", entry])
    return "\n".join([*rows[: at + 1], *entry.rstrip("\n").split("\n"), "", *rows[at + 1 :]])


def _released(row: str) -> str:
    """`3%{?dist}` becomes `3%{?dist}.suture1`, which sorts above it and below `4`."""
    found = _RELEASE.match(row)
    if not found:
        return row
    own = _OWN.search(found[2])
    text = found[2][: own.start()] if own else found[2]
    return f"{found[1]}{text}.suture{int(own[1]) + 1 if own else 1}"


def _prepared(rows: list[str], numbers: Sequence[int]) -> list[str]:
    """%autosetup applies all patches that have a tag; without it each needs a command of its own, after those of the
    spec."""
    start = next((n for n, r in enumerate(rows) if r.strip() == "%prep"), None)
    if start is None:
        raise Unsupported("the spec has no %prep", "add the patch by hand")
    end = next((n for n in range(start + 1, len(rows)) if _SECTION.match(rows[n])), len(rows))
    words = [(n, rows[n].split()[0]) for n in range(start + 1, end) if rows[n].strip()]
    if any(word in ("%autosetup", "%autopatch") for _, word in words):
        if not any("-p1" in rows[n] for n, word in words if word in ("%autosetup", "%autopatch")):
            raise Unsupported("the spec strips another number of folders than one from its patches", "add it by hand")
        return rows
    last = max((n for n, word in words if word == "%setup" or word.startswith("%patch")), default=None)
    if last is None:
        raise Unsupported("the spec unpacks without %setup and %autosetup", "add the patch by hand")
    return [*rows[: last + 1], *(f"%patch -P {n} -p1" for n in numbers), *rows[last + 1 :]]
