"""Facts of holes from elsewhere, as files: CISA's catalogue of known exploited vulnerabilities (KEV), CVE records with
CISA's enrichment (vulnrichment: SSVC, CVSS), FIRST's EPSS, and Debian's security tracker. A file that has another
form than it should is refused whole."""

from __future__ import annotations

import csv
import gzip
import io
import json
import re
import zlib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from datetime import UTC, date, datetime
from typing import Any

from suture.comply.fact import HoleFacts, Impact, Severity
from suture.error import ExitCode, SutureError
from suture.report.deadline import DataSource

KEV, EPSS, DEBIAN = "CISA KEV", "EPSS", "Debian security tracker"
_CVE = re.compile(r"CVE-[0-9]{4}-[0-9]{4,19}")
_MOST_BYTES = 512 << 20
_RELEASES = ("bullseye", "bookworm", "trixie", "forky", "sid")
_CVSS = ("cvssV4_0", "cvssV3_1", "cvssV3_0")


class BadCatalogue(SutureError):
    """A file is not what it is taken for."""

    exit_code = ExitCode.USAGE


@dataclass(frozen=True)
class KevEntry:
    """A row of the catalogue."""

    cve: str
    added: date
    due: date


@dataclass(frozen=True)
class KevCatalogue:
    """What is in it now. An entry that CISA has taken back is not in it any more, and so counts no more."""

    version: str
    entries: Mapping[str, KevEntry]

    def source(self, read: datetime) -> DataSource:
        """What reports say of it."""
        return DataSource(KEV, self.version, read.isoformat(), len(self.entries))

    def fill(self, facts: HoleFacts) -> HoleFacts:
        """The facts with what the catalogue says, and no more with what an older one said."""
        entry = self.entries.get(facts.cve)
        return replace(
            facts,
            in_kev=entry is not None,
            kev_added=entry.added if entry else None,
            kev_due=entry.due if entry else None,
        )


def read_kev(data: bytes, name: str) -> KevCatalogue:
    """`known_exploited_vulnerabilities.json`. Raises `BadCatalogue`."""
    try:
        raw = json.loads(data)
        rows = [
            KevEntry(str(r["cveID"]), date.fromisoformat(r["dateAdded"]), date.fromisoformat(r["dueDate"]))
            for r in raw["vulnerabilities"]
        ]
        return KevCatalogue(str(raw["catalogVersion"]), {r.cve: r for r in rows})
    except (ValueError, KeyError, TypeError, RecursionError) as problem:
        raise BadCatalogue(f"{name}: no KEV catalogue ({problem!r})", "get it from cisa.gov as JSON") from problem


@dataclass(frozen=True)
class EpssScores:
    """The probability of each CVE to be exploited within 30 days, by FIRST's model, as of a day."""

    version: str
    scores: Mapping[str, float]


def read_epss(data: bytes, name: str) -> EpssScores:
    """`epss_scores-current.csv`, packed (.gz) or not. Raises `BadCatalogue`."""
    try:
        lines = io.StringIO(_unpacked(data).decode())
        first = lines.readline().strip()
        head = dict(part.partition(":")[::2] for part in first.removeprefix("#").split(","))
        scores = {row["cve"]: float(row["epss"]) for row in csv.DictReader(lines)}
        if not first.startswith("#") or not all(_CVE.fullmatch(c) and 0 <= s <= 1 for c, s in scores.items()):
            raise ValueError("a row has another form")
        return EpssScores(date.fromisoformat(head["score_date"][:10]).isoformat(), scores)
    except (ValueError, KeyError, TypeError, OSError, EOFError, zlib.error) as problem:
        raise BadCatalogue(f"{name}: no EPSS scores ({problem!r})", "get epss_scores-current.csv.gz") from problem


def read_debian(data: bytes, name: str) -> Mapping[str, tuple[str, ...]]:
    """What Debian's tracker (`/tracker/data/json`) says of each CVE: a line for each source package, with its state in
    each release. Raises `BadCatalogue`."""
    try:
        found: dict[str, list[str]] = {}
        for package, holes in json.loads(_unpacked(data)).items():
            for cve, said in holes.items():
                if _CVE.fullmatch(cve):
                    found.setdefault(cve, []).append(f"{package}: {_releases(said['releases'])}"[:500])
        return {cve: tuple(sorted(lines)) for cve, lines in found.items()}
    except (ValueError, KeyError, TypeError, AttributeError, OSError, EOFError, zlib.error, RecursionError) as problem:
        raise BadCatalogue(f"{name}: no data of Debian's tracker ({problem!r})", "get /tracker/data/json") from problem


def _releases(releases: Mapping[str, Mapping[str, Any]]) -> str:
    found = []
    for release in _RELEASES:
        said = releases.get(release)
        if said is not None:
            state = f"fixed in {said['fixed_version']}" if said["status"] == "resolved" else str(said["status"])
            urgency = str(said.get("urgency", "not yet assigned"))
            found.append(f"{release} {state}" + ("" if urgency == "not yet assigned" else f" ({urgency})"))
    return ", ".join(found)


def _unpacked(data: bytes) -> bytes:
    if not data.startswith(b"\x1f\x8b"):
        return data
    with gzip.GzipFile(fileobj=io.BytesIO(data)) as packed:
        found = packed.read(_MOST_BYTES + 1)
    if len(found) > _MOST_BYTES:
        raise ValueError("it unpacks to more than it may")
    return found


def read_cve(data: bytes, name: str) -> HoleFacts:
    """One CVE record (CVE JSON 5), with CISA's container where it has one. Raises `BadCatalogue`."""
    try:
        raw = json.loads(data)
        meta = raw["cveMetadata"]
        boxes = [raw["containers"]["cna"], *raw["containers"].get("adp", [])]
        ssvc = dict(_ssvc(boxes))
        score, severity = _cvss(boxes)
        return HoleFacts(
            str(meta["cveId"]),
            disclosed=_moment(meta.get("datePublished")),
            exploited={"active": True, "poc": False, "none": False}.get(ssvc.get("exploitation", "")),
            automatable={"yes": True, "no": False}.get(ssvc.get("automatable", "")),
            impact={"partial": Impact.PARTIAL, "total": Impact.TOTAL}.get(ssvc.get("technical impact", "")),
            cvss=score,
            severity=severity,
        )
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as problem:
        raise BadCatalogue(
            f"{name}: no CVE record ({problem!r})", "get it from CVE or CISA's vulnrichment"
        ) from problem


def _metrics(boxes: Iterable[Mapping[str, Any]]) -> list[Mapping[str, Any]]:
    return [m for box in boxes for m in box.get("metrics", [])]


def _ssvc(boxes: Iterable[Mapping[str, Any]]) -> Iterable[tuple[str, str]]:
    for metric in _metrics(boxes):
        other = metric.get("other", {})
        if other.get("type") == "ssvc":
            for option in other["content"]["options"]:
                yield from ((str(k).lower(), str(v).lower()) for k, v in option.items())


def _cvss(boxes: Iterable[Mapping[str, Any]]) -> tuple[float | None, Severity | None]:
    metrics = _metrics(boxes)
    for kind in _CVSS:
        for metric in metrics:
            if kind in metric:
                word = str(metric[kind].get("baseSeverity", "")).lower()
                known = {s.value for s in Severity}
                return float(metric[kind]["baseScore"]), Severity(word) if word in known else None
    return None, None


def _moment(text: str | None) -> datetime | None:
    if not text:
        return None
    found = datetime.fromisoformat(text.replace("Z", "+00:00"))
    return found if found.tzinfo else found.replace(tzinfo=UTC)
