"""Data from elsewhere."""

from __future__ import annotations

import json
from datetime import UTC, date, datetime

import pytest

from suture.comply.catalogue import BadCatalogue, read_cve, read_kev
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
    with pytest.raises(BadCatalogue):
        read_cve(data, "cve")


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
