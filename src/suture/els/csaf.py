"""What a published package closes, as a CSAF 2.0 security advisory
(https://docs.oasis-open.org/csaf/csaf/v2.0/csaf-v2.0.html)."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any
from urllib.parse import quote

from suture.els.advisory import identifier, is_rpm
from suture.report.document import ElsBuildReport
from suture.source.mirror import RELEASES

_OLD, _NEW = "before", "fixed"
_NO_NAME = re.compile(r"[^+\-a-z0-9]+")


def file_name(report: ElsBuildReport) -> str:
    """The name of the document's file (section 5.1)."""
    return f"{_NO_NAME.sub('_', identifier(report).lower())}.json"


def csaf(report: ElsBuildReport, published: str, tool: str, address: str) -> Mapping[str, Any]:
    """The document. `published` is a time (RFC 3339), `tool` our name and version, `address` the repository's."""
    if is_rpm(report):
        vendor, release = "rpm", f"the rpm repository {report.release}"
        title = f"{report.package}: fixes in {release}"
    else:
        vendor, release = "Debian", f"Debian {RELEASES[report.release]} ({report.release})"
        title = f"{report.package}: fixes of {report.from_release} backported to {report.release}"
    place = f"{address.rstrip('/')}/csaf/{quote(file_name(report), safe='+')}"
    return {
        "document": {
            "category": "csaf_security_advisory",
            "csaf_version": "2.0",
            "lang": "en",
            "publisher": {"category": "other", "name": "keeper of the repository", "namespace": address},
            "references": [{"category": "self", "summary": "this advisory", "url": place}],
            "title": title,
            "tracking": {
                "id": identifier(report),
                "status": "final",
                "version": "1",
                "initial_release_date": published,
                "current_release_date": published,
                "revision_history": [{"number": "1", "date": published, "summary": "published"}],
                "generator": {"engine": {"name": tool}},
            },
        },
        "product_tree": {
            "branches": [
                {
                    "category": "vendor",
                    "name": vendor,
                    "branches": [
                        {
                            "category": "product_name",
                            "name": f"{report.package} in {release}",
                            "branches": [_branch(report, report.version, _OLD), _branch(report, report.made, _NEW)],
                        }
                    ],
                }
            ]
        },
        "vulnerabilities": [
            {
                "cve": cve,
                "notes": [{"category": "description", "text": f"Fixed by a patch from {fix.origin}."}],
                "product_status": {"known_affected": [_OLD], "fixed": [_NEW]},
                "remediations": [
                    {
                        "category": "vendor_fix",
                        "details": f"Upgrade {report.package} to {report.made}.",
                        "product_ids": [_OLD],
                        "url": address,
                    }
                ],
            }
            for cve, fix in sorted({c: f for f in report.fixes for c in f.cves}.items())
        ],
    }


def _branch(report: ElsBuildReport, version: str, identity: str) -> Mapping[str, Any]:
    if is_rpm(report):
        purl = f"pkg:rpm/{report.package}@{quote(version, safe='')}?arch=src"
    else:
        purl = f"pkg:deb/debian/{report.package}@{quote(version, safe='')}?arch=source&distro={report.release}"
    name = f"{report.package} {version}"
    helper = {"purl": purl}
    product = {"name": name, "product_id": identity, "product_identification_helper": helper}
    return {"category": "product_version", "name": version, "product": product}
