"""The holes of a host as OVAL definitions, version 5.11, for a scanner such as `oscap`.

Each CVE is a definition of class vulnerability. Its test compares the state that was found, a constant, with the states
of a hole that is not closed; a state that is not known is a test whose result is unknown. So the document says of this
host at the time in its generator what a scanner that only reads the disk cannot see.
"""

from __future__ import annotations

import re
from xml.etree.ElementTree import Element, SubElement, indent, register_namespace, tostring

from suture.export.picture import NothingToState, Picture, PicturedHole, in_words
from suture.report.hole import HoleState
from suture.visible import visible

_OVAL = "http://oval.mitre.org/XMLSchema/oval-definitions-5"
_COMMON = "http://oval.mitre.org/XMLSchema/oval-common-5"
_INDEPENDENT = f"{_OVAL}#independent"
SCHEMA = "5.11.1"
_STATE = "oval:suture:ste:1"
_NOT_CLOSED = tuple(s for s in HoleState if not s.is_closed and s is not HoleState.UNKNOWN)


def oval(picture: Picture, version: str) -> str:
    """The document; `version` is ours. Raises `NothingToState`."""
    holes = picture.holes
    if not holes:
        raise NothingToState
    for prefix, address in (("", _OVAL), ("oval", _COMMON), ("ind", _INDEPENDENT)):
        register_namespace(prefix, address)
    root = Element(f"{{{_OVAL}}}oval_definitions")
    _generator(root, version, picture.scan.time)
    parts = {name: SubElement(root, f"{{{_OVAL}}}{name}") for name in ("definitions", "tests", "objects", "states")}
    parts["variables"] = SubElement(root, f"{{{_OVAL}}}variables")
    state = _independent(parts["states"], "variable_state", _STATE, "the states of a hole that is not closed")
    pattern = "|".join(s.value for s in _NOT_CLOSED)
    SubElement(state, f"{{{_INDEPENDENT}}}value", operation="pattern match").text = f"^({pattern})$"
    for hole in holes:
        _add(parts, hole)
    for part in [p for p in parts.values() if not len(p)]:  # an empty one is not allowed
        root.remove(part)
    indent(root)
    return '<?xml version="1.0" encoding="UTF-8"?>\n' + tostring(root, encoding="unicode") + "\n"


def number(cve: str) -> int:
    """The same for a CVE everywhere: of CVE-2026-12345 it is 120260012345."""
    year, _, rest = re.sub(r"[^0-9-]", "", cve).strip("-").partition("-")
    return int(f"1{year or 0}{int(rest.replace('-', '') or 0):07}")


def _generator(root: Element, version: str, time: str) -> None:
    generator = SubElement(root, f"{{{_OVAL}}}generator")
    rows = {"product_name": "suture", "product_version": version, "schema_version": SCHEMA, "timestamp": time}
    for name, text in rows.items():
        SubElement(generator, f"{{{_COMMON}}}{name}").text = text


def _add(parts: dict[str, Element], hole: PicturedHole) -> None:
    n = number(hole.cve)
    test = f"oval:suture:tst:{n}"
    _define(parts["definitions"], hole, n, test)
    found = f"{hole.cve}: {hole.state.value}"
    if hole.state is HoleState.UNKNOWN:
        _independent(parts["tests"], "unknown_test", test, found, check="all")
        return
    row = _independent(parts["tests"], "variable_test", test, found, check="all")
    SubElement(row, f"{{{_INDEPENDENT}}}object", object_ref=f"oval:suture:obj:{n}")
    SubElement(row, f"{{{_INDEPENDENT}}}state", state_ref=_STATE)
    subject = _independent(parts["objects"], "variable_object", f"oval:suture:obj:{n}", "the state that was found")
    SubElement(subject, f"{{{_INDEPENDENT}}}var_ref").text = f"oval:suture:var:{n}"
    words = {"id": f"oval:suture:var:{n}", "version": "1", "datatype": "string", "comment": "found by suture scan"}
    constant = SubElement(parts["variables"], f"{{{_OVAL}}}constant_variable", words)
    SubElement(constant, f"{{{_OVAL}}}value").text = hole.state.value


def _define(parent: Element, hole: PicturedHole, n: int, test: str) -> None:
    words = {"class": "vulnerability", "id": f"oval:suture:def:{n}", "version": "1"}
    definition = SubElement(parent, f"{{{_OVAL}}}definition", words)
    metadata = SubElement(definition, f"{{{_OVAL}}}metadata")
    SubElement(metadata, f"{{{_OVAL}}}title").text = f"{hole.cve} in what runs"
    affected = SubElement(metadata, f"{{{_OVAL}}}affected", family="unix")
    SubElement(affected, f"{{{_OVAL}}}platform").text = "Debian GNU/Linux"
    address = f"https://www.cve.org/CVERecord?id={hole.cve}"
    SubElement(metadata, f"{{{_OVAL}}}reference", source="CVE", ref_id=hole.cve, ref_url=address)
    files = ", ".join(sorted({visible(p.file) for p in hole.places})) or "no binary"
    SubElement(metadata, f"{{{_OVAL}}}description").text = f"{files}: {in_words(hole.processes)}"
    criteria = SubElement(definition, f"{{{_OVAL}}}criteria")
    SubElement(criteria, f"{{{_OVAL}}}criterion", comment=f"{hole.cve} is not closed", test_ref=test)


def _independent(parent: Element, name: str, identity: str, comment: str, **more: str) -> Element:
    words = {"id": identity, "version": "1", **({"comment": comment}), **more}
    return SubElement(parent, f"{{{_INDEPENDENT}}}{name}", words)
