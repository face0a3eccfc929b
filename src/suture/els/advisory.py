"""What a published package closes, as an OSV document (https://ossf.github.io/osv-schema/), for scanners that read
them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from suture.report.document import ElsBuildReport
from suture.source.mirror import RELEASES

_SCHEMA = "1.7.0"


def identifier(report: ElsBuildReport) -> str:
    """The same for a version of a package everywhere."""
    return identifier_of(report.package, report.made)


def identifier_of(source: str, made: str) -> str:
    """That of a source package's version, of whatever distribution."""
    return f"SUTURE-ELS-{source}-{made}".replace(":", "_")


def cves_of(report: ElsBuildReport) -> tuple[str, ...]:
    """The CVEs that a package closes, sorted."""
    return tuple(sorted({c for f in report.fixes for c in f.cves}))


def is_rpm(report: ElsBuildReport) -> bool:
    """Whether a package is one of an rpm distribution; its release is then the name of the repository."""
    return any(f.name.endswith(".rpm") for f in report.files)


def osv(report: ElsBuildReport, published: str) -> Mapping[str, Any]:
    """The document; `published` is a time (RFC 3339)."""
    fixes = "\n".join(f"- {' '.join(f.cves) or f.patch}: from {f.origin}" for f in report.fixes)
    ecosystem = f"Debian:{RELEASES[report.release]}"
    events = [{"introduced": "0"}, {"fixed": report.made}]
    return {
        "schema_version": _SCHEMA,
        "id": identifier(report),
        "published": published,
        "modified": published,
        "upstream": list(cves_of(report)),
        "summary": f"{report.package}: fixes of {report.from_release} backported to {report.release}",
        "details": f"{fixes}\nTests of the package: {report.tests.outcome.value}. Grade: {report.grade.value}.",
        "affected": [
            {
                "package": {"ecosystem": ecosystem, "name": report.package},
                "ranges": [{"type": "ECOSYSTEM", "events": events}],
            }
        ],
    }
