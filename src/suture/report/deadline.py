"""Deadlines as reports name them: a rule, a hole on a host, until when, and how it stands."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import Enum

from suture.report.hole import HoleState


class DeadlineState(Enum):
    """How a deadline stands."""

    OVERDUE = "overdue"
    RUNNING = "running"
    EXEMPT = "exempt"  # an exception holds now
    NO_DATE = "no date"  # the rule names none: at the next upgrade, or by an assessment of one's own
    LATE = "closed late"
    MET = "closed in time"


@dataclass(frozen=True)
class Deadline:
    """One hole on one host under one rule. `clause` is the line of the rule that applies; `assumed` are facts that are
    not known and were taken for the worse. `clock` tells what began it, `start` when; `due` is "" where the rule names
    no number. `ended`: since when the hole is in a state that the rule accepts, "" for not yet. `duties` are what the
    rule asks for beside it, `exemption` the number of the exception that holds, 0 for none."""

    rule: str
    clause: str
    host: str
    cve: str
    hole: HoleState
    state: DeadlineState
    clock: str
    start: str
    due: str
    ended: str
    duties: tuple[str, ...]
    assumed: tuple[str, ...]
    exemption: int


@dataclass(frozen=True)
class Exemption:
    """An exception: until `expires` a hole (`cve`) on a host, "" for every host, need not be closed. `owner` answers
    for it, `approved_by` is another person, "" for not approved: it holds only then."""

    number: int
    cve: str
    host: str
    reason: str
    owner: str
    control: str
    created: str
    expires: str
    approved_by: str


@dataclass(frozen=True)
class ExposureFigure:
    """Hours that the vulnerable code ran in a period: `open` of them all in which nothing kept it from being used;
    `unknown` those in which the host did not report. `monthly` is what it would have been with one window a month."""

    host: str
    cve: str
    begin: str
    end: str
    hours_open: float
    hours_mitigated: float
    hours_unknown: float
    hours_monthly: float


@dataclass(frozen=True)
class RuleFigures:
    """What came of a rule in a period: deadlines by state, and the share of those with a date that was kept, none
    where there was none."""

    rule: str
    title: str
    source: str
    counts: Mapping[DeadlineState, int]
    kept: float | None


@dataclass(frozen=True)
class DataSource:
    """Data from elsewhere that figures are made from, its own version and age."""

    name: str
    version: str
    read: str
    rows: int


@dataclass(frozen=True)
class RuleSummary:
    """A rule as `suture comply rules` lists it."""

    rule: str
    title: str
    source: str
    valid_from: str
    valid_to: str
    clauses: int


@dataclass(frozen=True)
class DeadlineGroup:
    """A hole on hosts of one kind under one rule. `hosts` are those that have it and where it is not closed; `due`
    counts from the first of them. Other fields are those of `Deadline`."""

    rule: str
    clause: str
    cve: str
    exposed: bool | None
    hosts: int
    state: DeadlineState
    clock: str
    start: str
    due: str
    duties: tuple[str, ...]
    assumed: tuple[str, ...]
