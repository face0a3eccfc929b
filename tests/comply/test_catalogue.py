"""Data from elsewhere."""

from __future__ import annotations

import gzip
import json
from datetime import UTC, date, datetime

import pytest

from suture.comply.catalogue import BadCatalogue, read_cve, read_debian, read_epss, read_kev
from suture.comply.fact import HoleFacts, Impact, Severity

KEV = {
    "catalogVersion": "2024.06.01",
    "vulnerabilities": [{"cveID": "CVE-2024-1086", "dateAdded": "2024-05-30", "dueDate": "2024-06-20"}],
}


def test_the_catalogue_fills_in_what_it_says_and_takes_back_what_it_says_no_more() -> None:
    found = read_kev(json.dumps(KEV).encode(), "kev")
    listed = found.fill(HoleFacts("CVE-2024-1086"))
    assert (listed.in_kev, listed.kev_added, listed.kev_due) == (True, date(2024, 5, 30), date(2024, 6, 20))
    retracted = read_kev(json.dumps({**KEV, "vulnerabilities": []}).encode(), "kev").fill(listed)
    assert (retracted.in_kev, retracted.kev_added, retracted.kev_due) == (False, None, None)
    assert found.source(datetime(2024, 6, 2, tzinfo=UTC)).rows == 1


@pytest.mark.parametrize("data", [b"", b"[]", b'{"vulnerabilities": [{}]}', b"{" * 4000, b"\xff"])
def test_what_is_no_catalogue_is_refused(data: bytes) -> None:
    with pytest.raises(BadCatalogue):
        read_kev(data, "kev")
    for reader in (read_cve, read_epss, read_debian):
        with pytest.raises(BadCatalogue):
            reader(data, "file")


def test_a_cve_record_brings_what_cisa_adds() -> None:
    options = [{"Exploitation": "active"}, {"Automatable": "no"}, {"Technical Impact": "total"}]
    record = {
        "cveMetadata": {"cveId": "CVE-2024-1086", "datePublished": "2024-01-31T12:14:34.073Z"},
        "containers": {
            "cna": {"metrics": [{"cvssV3_1": {"baseScore": 7.8, "baseSeverity": "HIGH"}}]},
            "adp": [{"metrics": [{"other": {"type": "ssvc", "content": {"options": options}}}]}],
        },
    }
    found = read_cve(json.dumps(record).encode(), "cve")
    assert (found.exploited, found.automatable, found.impact) == (True, False, Impact.TOTAL)
    assert (found.cvss, found.severity) == (7.8, Severity.HIGH)
    assert found.disclosed is not None and found.disclosed.year == 2024


EPSS = b"#model_version:v2025.03.14,score_date:2026-06-30T12:55:00Z\ncve,epss,percentile\nCVE-2024-1086,0.84712,0.993\n"


def test_scores_are_read_packed_or_not_and_no_other_number_passes() -> None:
    for data in (EPSS, gzip.compress(EPSS)):
        found = read_epss(data, "epss")
        assert (found.version, found.scores) == ("2026-06-30", {"CVE-2024-1086": 0.84712})
    for wrong in (EPSS.replace(b"0.84712", b"1.5"), EPSS.replace(b"CVE-2024-1086", b"x"), gzip.compress(EPSS)[:-9]):
        with pytest.raises(BadCatalogue):
            read_epss(wrong, "epss")


def test_debians_word_is_a_line_for_each_package() -> None:
    releases = {
        "bookworm": {"status": "resolved", "fixed_version": "6.1.76-1", "urgency": "high"},
        "sid": {"status": "open", "urgency": "not yet assigned"},
    }
    said = {"linux": {"CVE-2024-1086": {"releases": releases}, "TEMP-0000000-1": {"releases": {}}}}
    assert read_debian(json.dumps(said).encode(), "tracker") == {
        "CVE-2024-1086": ("linux: bookworm fixed in 6.1.76-1 (high), sid open",)
    }
