"""What packages of a dnf repository close: updateinfo.xml, which `dnf updateinfo` reads."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from xml.etree.ElementTree import Element, SubElement, indent, tostring

from suture.els.advisory import identifier_of


@dataclass(frozen=True)
class RpmFile:
    """A binary rpm: its names, and the file's name in the repository."""

    name: str
    epoch: str
    version: str
    release: str
    arch: str
    file: str


@dataclass(frozen=True)
class RpmUpdate:
    """A source rpm's binary packages, the CVEs that they close, and when they were made (RFC 3339)."""

    source: str
    made: str
    time: str
    cves: tuple[str, ...]
    files: tuple[RpmFile, ...]

    @property
    def identity(self) -> str:
        """The same for a version of a package everywhere."""
        return identifier_of(self.source, self.made)


def updateinfo(updates: Sequence[RpmUpdate], suite: str) -> str:
    """The document; `suite` is the repository's name."""
    root = Element("updates")
    for one in updates:
        update = SubElement(root, "update", {"from": "suture", "status": "final", "type": "security", "version": "1"})
        SubElement(update, "id").text = one.identity
        SubElement(update, "title").text = f"{one.source} {one.made}: {', '.join(one.cves)}"
        SubElement(update, "severity").text = "None"
        SubElement(update, "issued", date=one.time.replace("T", " ").removesuffix("Z"))
        references = SubElement(update, "references")
        for cve in one.cves:
            address = f"https://www.cve.org/CVERecord?id={cve}"
            SubElement(references, "reference", {"href": address, "id": cve, "type": "cve", "title": cve})
        collection = SubElement(SubElement(update, "pkglist"), "collection", short=suite)
        SubElement(collection, "name").text = suite
        for file in one.files:
            words = {k: getattr(file, k) for k in ("name", "version", "release", "epoch", "arch")}
            row = SubElement(collection, "package", words)
            SubElement(row, "filename").text = file.file
    indent(root)
    return '<?xml version="1.0" encoding="UTF-8"?>\n' + tostring(root, encoding="unicode") + "\n"
