"""What the Debian security tracker says: the CVEs that a version of a source package fixes in a release.

Format: https://security-tracker.debian.org/tracker/data/json, an object by source package, CVE and `releases`. Of a
release `status` and `fixed_version` are read; a fixed version of "0" says that the release never had the fault.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from debian.debian_support import version_compare

from suture.error import ExitCode, SutureError

_RESOLVED, _NEVER = "resolved", "0"


class BadTracker(SutureError):
    """A file is not the tracker's data."""

    exit_code = ExitCode.USAGE


@dataclass(frozen=True)
class Tracker:
    """By source package and release the version that fixes each CVE."""

    fixed: Mapping[tuple[str, str], Mapping[str, str]]

    def fixed_between(self, source: str, release: str, old: str, new: str) -> tuple[str, ...]:
        """The CVEs that are fixed after a version and up to another, sorted."""
        rows = self.fixed.get((source, release), {}).items()
        return tuple(sorted(c for c, v in rows if version_compare(old, v) < 0 <= version_compare(new, v)))


def read(path: Path) -> Tracker:
    """The tracker's data from a file. Raises `BadTracker`, and OSError."""
    try:
        raw = json.loads(path.read_bytes())
        found: dict[tuple[str, str], dict[str, str]] = {}
        for source, cves in raw.items():
            for cve, facts in cves.items():
                for release, row in facts.get("releases", {}).items():
                    version = _fixed_version(row)
                    if cve.startswith("CVE-") and version:
                        found.setdefault((source, release), {})[cve] = version
    except (ValueError, AttributeError, TypeError) as bad:
        raise BadTracker(
            f"{path}: not the data of the security tracker ({bad!r})",
            "fetch it again: https://security-tracker.debian.org/tracker/data/json",
        ) from bad
    return Tracker(found)


def _fixed_version(row: Mapping[str, Any]) -> str:
    version = str(row.get("fixed_version", ""))
    return version if row.get("status") == _RESOLVED and version != _NEVER else ""
