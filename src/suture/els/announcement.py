"""What a repository tells of its packages beside them: CSAF, one document for each, OVAL and RSS, one for the suite,
and OSV for each package of a Debian release. The documents of one package stay as they were published."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from suture import whole_file
from suture.els.advisory import identifier, is_rpm, osv
from suture.els.csaf import csaf, file_name
from suture.els.news import rss
from suture.els.oval_definitions import FixedPackages, oval
from suture.report.document import ElsBuildReport
from suture.report.moment import now


@dataclass(frozen=True)
class Announcement:
    """A package of the repository, and its binary packages as a scanner compares them."""

    report: ElsBuildReport
    fixed: FixedPackages


def announce(repository: Path, suite: str, address: str, packages: Sequence[Announcement], version: str) -> None:
    """Write all of it into the repository's folder. `address` is the repository's, `version` ours."""
    times = [(one.report, _advisories(one.report, repository, address, version)) for one in packages]
    if packages:
        _replace(repository / "oval" / f"{suite}.xml", oval([one.fixed for one in packages], version, now()))
    _replace(repository / f"{suite}.rss", rss(times, suite, address))


def _advisories(report: ElsBuildReport, repository: Path, address: str, version: str) -> str:
    """Write a package's own documents if there are none; the time that it was published (RFC 3339)."""
    place = repository / "csaf" / file_name(report)
    _keep(place, csaf(report, now(), f"suture {version}", address))
    time = str(json.loads(place.read_text())["document"]["tracking"]["initial_release_date"])
    if not is_rpm(report):
        _keep(repository / "osv" / f"{identifier(report)}.json", osv(report, time))
    return time


def _keep(place: Path, document: Mapping[str, Any]) -> None:
    if not place.exists():
        _replace(place, json.dumps(document, indent=1, sort_keys=True) + "\n")


def _replace(place: Path, text: str) -> None:
    whole_file.replace(place, text.encode())
