"""What was published, as an RSS 2.0 channel (https://www.rssboard.org/rss-specification)."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from email.utils import format_datetime
from urllib.parse import quote
from xml.etree.ElementTree import Element, SubElement, indent, tostring

from suture.els.advisory import cves_of, identifier
from suture.els.csaf import file_name
from suture.report.document import ElsBuildReport

_MOST = 100


def rss(published: Sequence[tuple[ElsBuildReport, str]], suite: str, address: str) -> str:
    """The channel: an item for each package with the time that it was published (RFC 3339), the newest first."""
    root = Element("rss", version="2.0")
    channel = SubElement(root, "channel")
    SubElement(channel, "title").text = f"Packages of {suite}"
    SubElement(channel, "link").text = address
    SubElement(channel, "description").text = f"Fixes backported and published in {suite}"
    newest = sorted(published, key=lambda pair: (pair[1], identifier(pair[0])), reverse=True)
    for report, time in newest[:_MOST]:
        item = SubElement(channel, "item")
        SubElement(item, "title").text = f"{report.package} {report.made}: {', '.join(cves_of(report))}"
        SubElement(item, "link").text = f"{address.rstrip('/')}/csaf/{quote(file_name(report), safe='+')}"
        SubElement(item, "guid", isPermaLink="false").text = identifier(report)
        SubElement(item, "pubDate").text = format_datetime(datetime.fromisoformat(time))
        tests = f"Tests of the package: {report.tests.outcome.value}. Grade: {report.grade.value}."
        origins = " ".join(dict.fromkeys(f"{', '.join(f.cves)} from {f.origin}." for f in report.fixes))
        SubElement(item, "description").text = f"{origins} {tests}"
    indent(root)
    return '<?xml version="1.0" encoding="UTF-8"?>\n' + tostring(root, encoding="unicode") + "\n"
