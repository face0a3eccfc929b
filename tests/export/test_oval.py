"""OVAL definitions, as the archive's openscap-scanner evaluates them; and metrics, as its node_exporter reads them."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from xml.etree import ElementTree

import pytest

from suture.export.oval import number, oval
from suture.export.picture import NothingToState, Picture
from suture.export.prometheus import metrics
from tests import minimal
from tests.export.conftest import FIXED, UNKNOWN, scan_of

WANTED = {
    "CVE-2099-0001": "true",
    "CVE-2099-0002": "true",
    "CVE-2099-0003": "false",
    "CVE-2099-0004": "unknown",
    "CVE-2099-0005": "false",
    "CVE-2099-0009": "true",
}
EXPORTER = (
    "prometheus-node-exporter --collector.disable-defaults --collector.textfile "
    "--collector.textfile.directory=/root/metrics --web.listen-address=127.0.0.1:19100 >/root/exporter.log 2>&1 & "
    "curl --silent --fail --retry 50 --retry-connrefused --retry-delay 1 http://127.0.0.1:19100/metrics; kill $!"
)  # fmt: skip


def test_a_cve_has_the_same_number_everywhere() -> None:
    assert number("CVE-2026-12345") == 120260012345
    numbers = [number(c) for c in ("CVE-2026-1234", "CVE-2026-11234", "CVE-2027-1234", "odd")]
    assert len(set(numbers)) == 4 and all(n > 0 for n in numbers)


def test_no_part_is_empty_and_names_do_no_harm() -> None:
    for picture in (Picture(scan_of(UNKNOWN), None), Picture(scan_of(FIXED), None)):
        root = ElementTree.fromstring(oval(picture, "0"))
        assert [part.tag for part in root if not len(part)] == []


def test_a_host_without_a_hole_has_nothing_to_state() -> None:
    with pytest.raises(NothingToState):
        oval(Picture(scan_of(), None), "0")


@pytest.fixture(scope="module")
def machine() -> Iterator[Path]:
    with minimal.system("openscap-scanner", "prometheus-node-exporter", "curl") as root:
        yield root


@pytest.mark.archive
@pytest.mark.slow
def test_openscap_takes_the_definitions_and_finds_what_the_report_says(machine: Path, every: Picture) -> None:
    (machine / "root/host.oval.xml").write_text(oval(every, "0"))
    (machine / "root/known.oval.xml").write_text(oval(Picture(scan_of(UNKNOWN), None), "0"))
    for name in ("host", "known"):
        minimal.on(machine, "/root", "oscap", "oval", "validate", f"{name}.oval.xml")
    said, _ = minimal.on(machine, "/root", "oscap", "oval", "eval", "--results", "results.xml", "host.oval.xml")
    found = {f"CVE-{n[1:5]}-{int(n[5:]):04}": r for n, r in re.findall(r"oval:suture:def:(\d+): (\w+)", said)}
    assert found == WANTED
    minimal.on(machine, "/root", "oscap", "oval", "validate", "--results", "results.xml")
    broken = (machine / "root/host.oval.xml").read_text().replace("<criteria>", "<criteria x='1'>")
    (machine / "root/broken.oval.xml").write_text(broken)
    with pytest.raises(AssertionError):
        minimal.on(machine, "/root", "oscap", "oval", "validate", "broken.oval.xml")


@pytest.mark.archive
@pytest.mark.slow
def test_node_exporter_hands_the_metrics_on(machine: Path, every: Picture) -> None:
    (machine / "root/metrics").mkdir()
    text = metrics(every, "0")
    (machine / "root/metrics/suture.prom").write_text(text)
    said, _ = minimal.on(machine, "/root", "sh", "-c", EXPORTER)
    assert "node_textfile_scrape_error 0" in said
    samples = re.findall(r"^(suture_[a-z_]+)", text, re.M)
    assert {s for s in samples if not re.search(rf"^{s}[ {{]", said, re.M)} == set()
