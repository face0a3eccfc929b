"""What published packages close, as OVAL 5.11 definitions of class patch: a scanner such as `oscap` compares the
versions of a host's packages with those that are fixed."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import Enum
from xml.etree.ElementTree import Element, SubElement, indent, register_namespace, tostring

from suture.els.advisory import cves_of, identifier
from suture.els.updateinfo import RpmUpdate
from suture.report.document import ElsBuildReport
from suture.source.mirror import RELEASES

_OVAL = "http://oval.mitre.org/XMLSchema/oval-definitions-5"
_COMMON = "http://oval.mitre.org/XMLSchema/oval-common-5"
_LINUX = f"{_OVAL}#linux"
_SCHEMA = "5.11.1"
_ASIDE = "-dbgsym_"


class PackageTool(Enum):
    """What a host has its packages from; the values are the prefixes of OVAL's tests."""

    DPKG = "dpkginfo"
    RPM = "rpminfo"


_VERSION_TYPE = {PackageTool.DPKG: "debian_evr_string", PackageTool.RPM: "evr_string"}


@dataclass(frozen=True)
class FixedPackages:
    """Binary packages that close holes: `versions` has by name the epoch, version and release that is fixed, as the
    package tool compares them. `identity` is the same everywhere; `platform` is a name for people."""

    identity: str
    source: str
    made: str
    platform: str
    tool: PackageTool
    cves: tuple[str, ...]
    versions: Mapping[str, str]


def of_debian(report: ElsBuildReport) -> FixedPackages:
    """A built package of a Debian release."""
    fixed = report.made if ":" in report.made else f"0:{report.made}"
    platform = f"Debian GNU/Linux {RELEASES[report.release]}"
    versions = dict.fromkeys(binaries(report), fixed)
    return FixedPackages(
        identifier(report), report.package, report.made, platform, PackageTool.DPKG, cves_of(report), versions
    )


def of_rpm(update: RpmUpdate, platform: str) -> FixedPackages:
    """A source rpm's binary packages."""
    versions = {f.name: f"{f.epoch}:{f.version}-{f.release}" for f in update.files}
    return FixedPackages(
        update.identity,
        update.source,
        update.made,
        platform,
        PackageTool.RPM,
        update.cves,
        dict(sorted(versions.items())),
    )


def oval(fixed: Sequence[FixedPackages], version: str, time: str) -> str:
    """The document. `version` is ours, `time` when it was made (RFC 3339). It needs a package; each source has one
    definition, true where an installed binary package is older than the published one."""
    for prefix, address in (("", _OVAL), ("oval", _COMMON), ("linux", _LINUX)):
        register_namespace(prefix, address)
    root = Element(f"{{{_OVAL}}}oval_definitions")
    generator = SubElement(root, f"{{{_OVAL}}}generator")
    rows = {"product_name": "suture", "product_version": version, "schema_version": _SCHEMA, "timestamp": time}
    for name, text in rows.items():
        SubElement(generator, f"{{{_COMMON}}}{name}").text = text
    parts = {name: SubElement(root, f"{{{_OVAL}}}{name}") for name in ("definitions", "tests", "objects", "states")}
    for one in fixed:
        _add(parts, one)
    indent(root)
    return '<?xml version="1.0" encoding="UTF-8"?>\n' + tostring(root, encoding="unicode") + "\n"


def binaries(report: ElsBuildReport) -> tuple[str, ...]:
    """The names of the binary packages that hosts of a Debian release install."""
    names = (f.name for f in report.files if f.name.endswith(".deb") and _ASIDE not in f.name)
    return tuple(sorted({name.partition("_")[0] for name in names}))


def _add(parts: dict[str, Element], one: FixedPackages) -> None:
    words = {"class": "patch", "id": f"oval:suture.els:def:{_number(one.identity)}", "version": "1"}
    definition = SubElement(parts["definitions"], f"{{{_OVAL}}}definition", words)
    metadata = SubElement(definition, f"{{{_OVAL}}}metadata")
    SubElement(metadata, f"{{{_OVAL}}}title").text = f"{one.source} {one.made}"
    affected = SubElement(metadata, f"{{{_OVAL}}}affected", family="unix")
    SubElement(affected, f"{{{_OVAL}}}platform").text = one.platform
    for cve in one.cves:
        address = f"https://www.cve.org/CVERecord?id={cve}"
        SubElement(metadata, f"{{{_OVAL}}}reference", source="CVE", ref_id=cve, ref_url=address)
    said = f"{one.source} is older than {one.made}, which fixes {', '.join(one.cves)}"
    SubElement(metadata, f"{{{_OVAL}}}description").text = said
    criteria = SubElement(definition, f"{{{_OVAL}}}criteria", operator="OR")
    states: dict[str, str] = {}
    kind = one.tool.value
    for name, fixed in one.versions.items():
        if fixed not in states:
            states[fixed] = f"oval:suture.els:ste:{_number(f'{one.identity} {fixed}')}"
            row = _linux(parts["states"], f"{kind}_state", states[fixed])
            words = {"datatype": _VERSION_TYPE[one.tool], "operation": "less than"}
            SubElement(row, f"{{{_LINUX}}}evr", words).text = fixed
        m = _number(f"{one.identity} {name}")
        test, subject = f"oval:suture.els:tst:{m}", f"oval:suture.els:obj:{m}"
        comment = f"{name} is older than {one.made}"
        row = _linux(parts["tests"], f"{kind}_test", test, comment=comment, check="all")
        SubElement(row, f"{{{_LINUX}}}object", object_ref=subject)
        SubElement(row, f"{{{_LINUX}}}state", state_ref=states[fixed])
        SubElement(_linux(parts["objects"], f"{kind}_object", subject), f"{{{_LINUX}}}name").text = name
        SubElement(criteria, f"{{{_OVAL}}}criterion", comment=comment, test_ref=test)


def _linux(parent: Element, name: str, identity: str, **more: str) -> Element:
    return SubElement(parent, f"{{{_LINUX}}}{name}", {"id": identity, "version": "1", **more})


def _number(text: str) -> int:
    """The same positive number for a text everywhere, below 2^52."""
    return int(hashlib.sha256(text.encode()).hexdigest()[:13], 16) + 1
