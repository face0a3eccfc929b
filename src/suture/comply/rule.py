"""A rule: which holes have to be closed until when, as data. What it says of one hole on one host is computed here.

What is not known counts as what makes the deadline shorter: clauses stand from the strictest to the mildest, and the
first that is not known to be false applies. The facts that were taken for the worse so are named with the result.
"""

from __future__ import annotations

import calendar
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta
from enum import Enum

from suture.comply.fact import AssetFacts, HoleFacts, Impact, Severity
from suture.report.hole import HoleState


class ClockStart(Enum):
    """A moment that a clock may count from."""

    DISCLOSED = "disclosed"  # the hole became public
    FIXED = "fixed"  # the vendor released an update
    KEV_ADDED = "kev-added"  # it came into CISA's catalogue
    SEEN = "seen"  # it was first seen on the host


@dataclass(frozen=True)
class Term:
    """How long: days, or months of the calendar, or until the day that CISA's catalogue names; none of them: the rule
    names no number, and `words` say what it asks for."""

    days: float = 0.0
    months: int = 0
    kev_due: bool = False
    words: str = ""

    def end(self, start: datetime, facts: HoleFacts) -> datetime | None:
        """Until when the hole has to be closed; None for no number. A day of a catalogue ends with it (UTC)."""
        if self.kev_due:
            return _end_of(facts.kev_due) if facts.kev_due else None
        if self.months:
            return _months_later(start, self.months)
        return start + timedelta(days=self.days) if self.days else None


@dataclass(frozen=True)
class Condition:
    """One fact and what it has to be."""

    fact: str
    wanted: bool | float | tuple[str, ...] | int

    def holds(self, hole: HoleFacts, asset: AssetFacts) -> bool | None:
        """None where it is not known."""
        return FACTS[self.fact](self.wanted, hole, asset)


@dataclass(frozen=True)
class Clause:
    """All `conditions` together lead to `term`. `duties`: what is to be done beside closing the hole."""

    name: str
    conditions: tuple[Condition, ...]
    term: Term
    duties: tuple[str, ...] = ()


@dataclass(frozen=True)
class Application:
    """What a rule says of one hole on one host: its clause, from when and until when, and the facts that were taken
    for the worse."""

    clause: Clause
    clock: ClockStart
    start: datetime
    due: datetime | None
    assumed: tuple[str, ...]


@dataclass(frozen=True)
class DeadlineRule:
    """`clock`: it counts from the latest of these that is known. `ends` are states in which a hole counts as closed.
    `clauses` from the strictest to the mildest. `note` is what a reader has to know of how the text became data."""

    id: str
    title: str
    source: str
    valid_from: date | None
    valid_to: date | None
    clock: tuple[ClockStart, ...]
    ends: frozenset[HoleState]
    clauses: tuple[Clause, ...]
    note: str = ""

    def is_valid(self, day: date) -> bool:
        """Whether it is in force on a day."""
        return (self.valid_from is None or self.valid_from <= day) and (self.valid_to is None or day <= self.valid_to)

    def apply(self, hole: HoleFacts, asset: AssetFacts, seen: datetime) -> Application | None:
        """None where no clause is about this hole. `seen` is when the hole was first seen on the host."""
        for clause in self.clauses:
            unknown = set()
            for condition in clause.conditions:
                answer = condition.holds(hole, asset)
                if answer is False:
                    break
                if answer is None:
                    unknown.add(condition.fact)
            else:
                clock, start = self._start(hole, seen)
                return Application(clause, clock, start, clause.term.end(start, hole), tuple(sorted(unknown)))
        return None

    def _start(self, hole: HoleFacts, seen: datetime) -> tuple[ClockStart, datetime]:
        moments: dict[ClockStart, datetime | None] = {
            ClockStart.DISCLOSED: hole.disclosed,
            ClockStart.FIXED: hole.fixed,
            ClockStart.KEV_ADDED: _start_of(hole.kev_added) if hole.kev_added else None,
            ClockStart.SEEN: seen,
        }
        known = [(m, c) for c in self.clock if (m := moments[c]) is not None]
        moment, clock = max(known, key=lambda pair: pair[0], default=(seen, ClockStart.SEEN))
        return clock, moment


def _start_of(day: date) -> datetime:
    return datetime.combine(day, time(), UTC)


def _end_of(day: date) -> datetime:
    return _start_of(day) + timedelta(days=1)


def _months_later(start: datetime, months: int) -> datetime:
    """The same day of a later month, or its last."""
    year, month = divmod(start.month - 1 + months, 12)
    year, month = start.year + year, month + 1
    return start.replace(year=year, month=month, day=min(start.day, calendar.monthrange(year, month)[1]))


def _same(wanted: object, known: object) -> bool | None:
    return None if known is None else known == wanted


def _severity(wanted: object, hole: HoleFacts) -> bool | None:
    assert isinstance(wanted, tuple)
    return None if hole.severity is None else hole.severity in {Severity(w) for w in wanted}


def _at_least(wanted: object, known: float | None) -> bool | None:
    assert isinstance(wanted, int | float)
    return None if known is None else known >= wanted


def _classes(wanted: object, asset: AssetFacts) -> bool:
    assert isinstance(wanted, tuple)
    return bool(asset.classes & set(wanted))


FACTS: Mapping[str, Callable[[object, HoleFacts, AssetFacts], bool | None]] = {
    "kev": lambda wanted, hole, _: _same(wanted, hole.in_kev),
    "exposed": lambda wanted, _, asset: _same(wanted, asset.exposed),
    "automatable": lambda wanted, hole, _: _same(wanted, hole.automatable),
    "exploited": lambda wanted, hole, _: _same(wanted, hole.is_exploited),
    "likely_exploitable": lambda wanted, hole, _: _same(wanted, hole.is_likely_exploitable),
    "impact": lambda wanted, hole, _: _same(Impact(str(wanted)), hole.impact),
    "severity": lambda wanted, hole, _: _severity(wanted, hole),
    "cvss_at_least": lambda wanted, hole, _: _at_least(wanted, hole.cvss),
    "agency_impact": lambda wanted, hole, _: _same(wanted, hole.agency_impact),
    "rated": lambda wanted, hole, _: (hole.cvss is not None or hole.severity is not None) == wanted,
    "asset_class": lambda wanted, _, asset: _classes(wanted, asset),
}
