"""Exceptions: which one holds now for a hole on a host. They run out by themselves, and none holds by one person's
word alone."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime

from suture.error import ExitCode, SutureError
from suture.report.deadline import Exemption


class BadExemption(SutureError):
    """An exception lacks what it needs."""

    exit_code = ExitCode.USAGE


def check(one: Exemption) -> None:
    """Raises `BadExemption`."""
    for name in ("cve", "reason", "owner", "control"):
        if not getattr(one, name).strip():
            raise BadExemption(
                f"exception: it has no {name}", "an exception names what is done instead, and who answers"
            )
    if datetime.fromisoformat(one.expires) <= datetime.fromisoformat(one.created):
        raise BadExemption("exception: it expires before it begins", "give a later moment")
    if one.approved_by and one.approved_by == one.owner:
        raise BadExemption("exception: its owner approves it himself", "another person has to approve it")


def holding(exemptions: Iterable[Exemption], host: str, cve: str, now: datetime) -> Exemption | None:
    """The one that holds the longest, None for none."""
    found = [
        e
        for e in exemptions
        if e.cve == cve
        and e.host in ("", host)
        and e.approved_by
        and datetime.fromisoformat(e.created) <= now < datetime.fromisoformat(e.expires)
    ]
    return max(found, key=lambda e: e.expires, default=None)
