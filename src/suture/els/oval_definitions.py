"""What published packages close, as OVAL 5.11 definitions of class patch: a scanner such as `oscap` compares the
versions of a host's packages with those that are fixed."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from xml.etree.ElementTree import Element, SubElement, indent, register_namespace, tostring

from suture.els.advisory import identifier
from suture.report.document import ElsBuildReport
from suture.source.mirror import RELEASES

_OVAL = "http://oval.mitre.org/XMLSchema/oval-definitions-5"
_COMMON = "http://oval.mitre.org/XMLSchema/oval-common-5"
_LINUX = f"{_OVAL}#linux"
_SCHEMA = "5.11.1"
_ASIDE = "-dbgsym_"


def oval(reports: Sequence[ElsBuildReport], version: str, time: str) -> str:
    """The document. `version` is ours, `time` when it was made (RFC 3339). It needs a report; each has one definition,
    true where an installed binary package is older than the published one."""
    for prefix, address in (("", _OVAL), ("oval", _COMMON), ("linux", _LINUX)):
        register_namespace(prefix, address)
    root = Element(f"{{{_OVAL}}}oval_definitions")
    generator = SubElement(root, f"{{{_OVAL}}}generator")
    rows = {"product_name": "suture", "product_version": version, "schema_version": _SCHEMA, "timestamp": time}
    for name, text in rows.items():
        SubElement(generator, f"{{{_COMMON}}}{name}").text = text
    parts = {name: SubElement(root, f"{{{_OVAL}}}{name}") for name in ("definitions", "tests", "objects", "states")}
    for report in reports:
        _add(parts, report)
    indent(root)
    return '<?xml version="1.0" encoding="UTF-8"?>\n' + tostring(root, encoding="unicode") + "\n"


def binaries(report: ElsBuildReport) -> tuple[str, ...]:
    """The names of the binary packages that hosts install."""
    names = (f.name for f in report.files if f.name.endswith(".deb") and _ASIDE not in f.name)
    return tuple(sorted({name.partition("_")[0] for name in names}))


def _add(parts: dict[str, Element], report: ElsBuildReport) -> None:
    n = _number(identifier(report))
    words = {"class": "patch", "id": f"oval:suture.els:def:{n}", "version": "1"}
    definition = SubElement(parts["definitions"], f"{{{_OVAL}}}definition", words)
    metadata = SubElement(definition, f"{{{_OVAL}}}metadata")
    SubElement(metadata, f"{{{_OVAL}}}title").text = f"{report.package} {report.made}"
    affected = SubElement(metadata, f"{{{_OVAL}}}affected", family="unix")
    SubElement(affected, f"{{{_OVAL}}}platform").text = f"Debian GNU/Linux {RELEASES[report.release]}"
    cves = sorted({c for f in report.fixes for c in f.cves})
    for cve in cves:
        address = f"https://www.cve.org/CVERecord?id={cve}"
        SubElement(metadata, f"{{{_OVAL}}}reference", source="CVE", ref_id=cve, ref_url=address)
    said = f"{report.package} is older than {report.made}, which fixes {', '.join(cves)}"
    SubElement(metadata, f"{{{_OVAL}}}description").text = said
    criteria = SubElement(definition, f"{{{_OVAL}}}criteria", operator="OR")
    state = f"oval:suture.els:ste:{n}"
    row = _linux(parts["states"], "dpkginfo_state", state)
    fixed = report.made if ":" in report.made else f"0:{report.made}"
    evr = SubElement(row, f"{{{_LINUX}}}evr", datatype="debian_evr_string", operation="less than")
    evr.text = fixed
    for name in binaries(report):
        m = _number(f"{identifier(report)} {name}")
        test, subject = f"oval:suture.els:tst:{m}", f"oval:suture.els:obj:{m}"
        comment = f"{name} is older than {report.made}"
        row = _linux(parts["tests"], "dpkginfo_test", test, comment=comment, check="all")
        SubElement(row, f"{{{_LINUX}}}object", object_ref=subject)
        SubElement(row, f"{{{_LINUX}}}state", state_ref=state)
        SubElement(_linux(parts["objects"], "dpkginfo_object", subject), f"{{{_LINUX}}}name").text = name
        SubElement(criteria, f"{{{_OVAL}}}criterion", comment=comment, test_ref=test)


def _linux(parent: Element, name: str, identity: str, **more: str) -> Element:
    return SubElement(parent, f"{{{_LINUX}}}{name}", {"id": identity, "version": "1", **more})


def _number(text: str) -> int:
    """The same positive number for a text everywhere, below 2^52."""
    return int(hashlib.sha256(text.encode()).hexdigest()[:13], 16) + 1
