"""What the shipped rules say of holes, from the texts that they were made from."""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta
from itertools import product

import pytest

from suture.comply.fact import AssetFacts, HoleFacts, Impact, Severity
from suture.comply.rule import Application, ClockStart, DeadlineRule
from suture.comply.rulebook import shipped

RULES = {r.id: r for r in shipped()}
SEEN = datetime(2026, 7, 1, tzinfo=UTC)
INSIDE, EXPOSED = AssetFacts("a", exposed=False), AssetFacts("a", exposed=True)
# CVE-2024-1086, nf_tables: in the catalogue since 2024-05-30, local, total
NF_TABLES = HoleFacts(
    "CVE-2024-1086",
    disclosed=datetime(2024, 1, 31, tzinfo=UTC),
    in_kev=True,
    kev_added=date(2024, 5, 30),
    kev_due=date(2024, 6, 20),
    exploited=True,
    automatable=False,
    impact=Impact.TOTAL,
    cvss=7.8,
    severity=Severity.HIGH,
)


def applied(rule: str, hole: HoleFacts, asset: AssetFacts = INSIDE, seen: datetime = SEEN) -> Application:
    found = RULES[rule].apply(hole, asset, seen)
    assert found is not None
    return found


def days(rule: str, hole: HoleFacts, asset: AssetFacts = INSIDE) -> float | None:
    found = applied(rule, hole, asset)
    return None if found.due is None else (found.due - found.start) / timedelta(days=1)


def test_nf_tables_has_fourteen_days_inside_and_three_with_triage_where_it_is_exposed() -> None:
    inside, exposed = applied("cisa-bod-26-04", NF_TABLES), applied("cisa-bod-26-04", NF_TABLES, EXPOSED)
    assert days("cisa-bod-26-04", NF_TABLES) == 14 and inside.clause.duties == ()
    assert days("cisa-bod-26-04", NF_TABLES, EXPOSED) == 3 and "forensic triage" in exposed.clause.duties[0]
    assert inside.start == SEEN and inside.clock is ClockStart.SEEN and inside.assumed == ()


# the directive's Table 1: (KEV, exposed, automatable, total) of each row, and what it says
TABLE_1 = {
    (0, 0, 0, 0): None, (1, 0, 0, 0): 14, (0, 1, 0, 0): 60, (0, 0, 1, 0): 60, (0, 0, 0, 1): None, (1, 1, 0, 0): 14,
    (1, 0, 1, 0): 14, (0, 1, 1, 0): 14, (1, 0, 0, 1): 14, (0, 1, 0, 1): 14, (0, 0, 1, 1): 60, (1, 1, 1, 0): 3,
    (1, 1, 0, 1): 3, (1, 0, 1, 1): 3, (0, 1, 1, 1): 3, (1, 1, 1, 1): 3,
}  # fmt: skip
WITH_TRIAGE = {(1, 1, 0, 1), (1, 0, 1, 1), (1, 1, 1, 1)}


@pytest.mark.parametrize("row", product((0, 1), repeat=4))
def test_bod_26_04_says_what_its_table_says(row: tuple[int, int, int, int]) -> None:
    kev, exposed, automatable, total = map(bool, row)
    hole = HoleFacts("C", in_kev=kev, automatable=automatable, impact=Impact.TOTAL if total else Impact.PARTIAL)
    found = applied("cisa-bod-26-04", hole, AssetFacts("a", exposed=exposed))
    assert days("cisa-bod-26-04", hole, AssetFacts("a", exposed=exposed)) == TABLE_1[row]
    assert bool(found.clause.duties) == (row in WITH_TRIAGE)


def test_what_is_not_known_makes_the_deadline_shorter_and_is_named() -> None:
    hole = HoleFacts("C", in_kev=True, impact=Impact.TOTAL)
    found = applied("cisa-bod-26-04", hole, AssetFacts("a"))
    assert found.due == SEEN + timedelta(days=3) and found.assumed == ("automatable", "exposed")


def test_the_directives_before_it_are_history() -> None:
    assert applied("cisa-bod-22-01", NF_TABLES).due == datetime(2024, 6, 21, tzinfo=UTC)
    assert RULES["cisa-bod-22-01"].apply(HoleFacts("C", in_kev=False), EXPOSED, SEEN) is None
    old = RULES["cisa-bod-22-01"]
    assert old.is_valid(date(2026, 6, 9)) and not old.is_valid(date(2026, 6, 10))
    assert days("cisa-bod-19-02", HoleFacts("C", cvss=9.1), EXPOSED) == 15
    assert days("cisa-bod-19-02", HoleFacts("C", cvss=7.0), EXPOSED) == 30
    assert RULES["cisa-bod-19-02"].apply(HoleFacts("C", cvss=9.8), INSIDE, SEEN) is None


def test_a_month_of_pci_dss_is_one_of_the_calendar() -> None:
    hole = HoleFacts("C", fixed=datetime(2027, 1, 31, 9, tzinfo=UTC), severity=Severity.CRITICAL)
    assert applied("pci-dss-4.0.1-6.3.3", hole).due == datetime(2027, 2, 28, 9, tzinfo=UTC)
    mild = HoleFacts("C", cvss=5.0, severity=Severity.MEDIUM)
    assert applied("pci-dss-4.0.1-6.3.3", mild).due is None


@pytest.mark.parametrize(
    ("cvss", "severity", "expected"),
    [
        (6.9, Severity.MEDIUM, None),
        (7.0, Severity.MEDIUM, 14),
        (3.0, Severity.HIGH, 14),
        (None, Severity.CRITICAL, 14),
        (None, None, 14),
    ],
)
def test_cyber_essentials_has_fourteen_days(
    cvss: float | None, severity: Severity | None, expected: int | None
) -> None:
    hole = HoleFacts("C", cvss=cvss, severity=severity)
    found = RULES["cyber-essentials"].apply(hole, INSIDE, SEEN)
    assert (found and found.due) == (SEEN + timedelta(days=expected) if expected else None)


def test_essential_eight_has_48_hours_where_it_is_exposed_and_exploited_or_critical() -> None:
    rule = "essential-eight"
    assert days(rule, NF_TABLES, EXPOSED) == 2
    quiet = HoleFacts("C", in_kev=False, exploited=False, severity=Severity.MEDIUM)
    assert days(rule, quiet, EXPOSED) == 14
    assert days(rule, HoleFacts("C", in_kev=False, exploited=False, severity=Severity.CRITICAL), EXPOSED) == 2
    assert applied(rule, quiet).due == datetime(2026, 8, 1, tzinfo=UTC)


VDR: dict[str, dict[int, tuple[float, ...]]] = {  # VDR-TFR-PVR: (LEV + IRV, LEV + NIRV, NLEV) by N-rating
    "c": {5: (2, 4, 16), 4: (4, 8, 64), 3: (16, 32, 128), 2: (48, 128, 192)},
    "d": {5: (0.5, 1, 8), 4: (2, 8, 32), 3: (8, 16, 64), 2: (24, 96, 192)},
}


@pytest.mark.parametrize(("letter", "rating"), product("cd", (5, 4, 3, 2)))
def test_fedramp_says_what_its_tables_say(letter: str, rating: int) -> None:
    likely = HoleFacts("C", agency_impact=rating, automatable=True)
    not_likely = HoleFacts("C", agency_impact=rating, automatable=False, in_kev=False, exploited=False)
    rule = f"fedramp-vdr-{letter}"
    found = (days(rule, likely, EXPOSED), days(rule, likely), days(rule, not_likely))
    assert found == VDR[letter][rating]
    assert days(rule, HoleFacts("C", agency_impact=1, automatable=True)) is None


def test_a_plain_rule_counts_from_the_later_of_update_and_first_sight() -> None:
    early = HoleFacts("C", fixed=SEEN - timedelta(days=9))
    late = HoleFacts("C", fixed=SEEN + timedelta(days=9))
    assert applied("thirty-days", early).clock is ClockStart.SEEN
    assert applied("thirty-days", late).due == SEEN + timedelta(days=39)


def test_each_rule_says_where_it_is_from() -> None:
    assert len(RULES) == 10 and all(isinstance(r, DeadlineRule) and r.source and r.clauses for r in RULES.values())
