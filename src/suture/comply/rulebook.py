"""Rules as TOML: those that are shipped, and those that an organisation writes. Read strictly; rules.schema.json says
the form (docs/reference/rules.md)."""

from __future__ import annotations

import tomllib
from collections.abc import Mapping
from datetime import date
from importlib.resources import files
from pathlib import Path
from typing import Any

from suture.comply.rule import FACTS, Clause, ClockStart, Condition, DeadlineRule, Term
from suture.error import ExitCode, SutureError
from suture.report.hole import HoleState

_BOOL = ("kev", "exposed", "automatable", "exploited", "likely_exploitable", "rated")
_TOP = ("id", "title", "source", "valid_from", "valid_to", "clock", "ends", "note", "clause")
_CLAUSE = ("name", "when", "days", "months", "kev_due", "words", "duties")
_REMEDY = "docs/reference/rules.md shows the form"


class BadRule(SutureError):
    """A rule's file is missing, or does not say what it has to."""

    exit_code = ExitCode.USAGE


def shipped() -> tuple[DeadlineRule, ...]:
    """The rules that come with Suture, by id."""
    places = [p for p in files("suture.comply").joinpath("rules").iterdir() if p.name.endswith(".toml")]
    return tuple(sorted((parse(p.read_text(), p.name) for p in places), key=lambda r: r.id))


def load(path: Path) -> DeadlineRule:
    """Raises `BadRule`."""
    try:
        return parse(path.read_text(), str(path))
    except (OSError, UnicodeDecodeError) as problem:
        raise BadRule(f"{path}: {problem}", _REMEDY) from problem


def parse(text: str, name: str) -> DeadlineRule:
    """`name` is the file's, for errors. Raises `BadRule`."""
    try:
        raw = tomllib.loads(text)
        return _rule(raw)
    except tomllib.TOMLDecodeError as problem:
        raise BadRule(f"{name}: no TOML: {problem}", "correct that line") from problem
    except (KeyError, TypeError, ValueError) as problem:
        what = f"{problem.args[0]} is missing" if isinstance(problem, KeyError) else str(problem)
        raise BadRule(f"{name}: {what}", _REMEDY) from problem


def _rule(raw: Mapping[str, Any]) -> DeadlineRule:
    _known(raw, _TOP, "rule")
    clauses = tuple(_clause(row) for row in _list(raw["clause"], dict, "clause"))
    if not clauses:
        raise ValueError("a rule needs a clause")
    return DeadlineRule(
        _text(raw["id"], "id"),
        _text(raw["title"], "title"),
        _text(raw["source"], "source"),
        _day(raw, "valid_from"),
        _day(raw, "valid_to"),
        tuple(ClockStart(c) for c in _list(raw["clock"], str, "clock")),
        frozenset(HoleState(e) for e in _list(raw["ends"], str, "ends")),
        clauses,
        _text(raw.get("note", ""), "note", empty=True),
    )


def _clause(row: Mapping[str, Any]) -> Clause:
    _known(row, _CLAUSE, "clause")
    name = _text(row["name"], "name")
    term = Term(
        _number(row.get("days", 0), "days"),
        int(_number(row.get("months", 0), "months")),
        _flag(row.get("kev_due", False), "kev_due"),
        _text(row.get("words", ""), "words", empty=True),
    )
    if sum(map(bool, (term.days, term.months, term.kev_due, term.words))) != 1:
        raise ValueError(f"clause {name!r}: it needs one of days, months, kev_due and words")
    when = row.get("when", {})
    conditions = tuple(_condition(fact, wanted) for fact, wanted in when.items())
    return Clause(name, conditions, term, tuple(_list(row.get("duties", []), str, "duties")))


def _condition(fact: str, wanted: Any) -> Condition:
    if fact not in FACTS:
        raise ValueError(f"when.{fact} is not known; known are {', '.join(FACTS)}")
    if fact in _BOOL:
        return Condition(fact, _flag(wanted, fact))
    if fact in ("cvss_at_least", "agency_impact"):
        return Condition(fact, _number(wanted, fact))
    if fact == "impact" and wanted not in ("partial", "total"):
        raise ValueError(f"when.impact is {wanted!r}, and may be partial or total")
    found = wanted if fact == "impact" else tuple(_list(wanted, str, fact))
    return Condition(fact, found)


def _known(given: Mapping[str, Any], known: tuple[str, ...], where: str) -> None:
    strange = sorted(given.keys() - set(known))
    if strange:
        raise ValueError(f"{where}.{strange[0]} is not known; known are {', '.join(known)}")


def _text(value: Any, name: str, *, empty: bool = False) -> str:
    if not isinstance(value, str) or not (value or empty):
        raise ValueError(f"{name} is no text")
    return value


def _number(value: Any, name: str) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float) or value < 0:
        raise ValueError(f"{name} is no number of 0 or more")
    return float(value)


def _flag(value: Any, name: str) -> bool:
    if not isinstance(value, bool):
        raise ValueError(f"{name} is neither true nor false")
    return value


def _list(value: Any, kind: type[Any], name: str) -> list[Any]:
    if not isinstance(value, list) or not all(isinstance(v, kind) for v in value):
        raise ValueError(f"{name} is no list of its kind")
    return value


def _day(raw: Mapping[str, Any], name: str) -> date | None:
    value = raw.get(name)
    if value is not None and type(value) is not date:
        raise ValueError(f"{name} is no day")
    return value
