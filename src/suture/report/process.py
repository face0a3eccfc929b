"""A process as reports name it."""

from __future__ import annotations

from dataclasses import dataclass

from suture.report.reason import Cause


@dataclass(frozen=True)
class Process:
    """`pid` and `start_time` (clock ticks after boot, proc_pid_stat(5)) mean one process of one boot; 0 where it had
    ended already.

    `program` is the path of what it executes, as it sees it; `unit` its systemd unit and `container` its container, by
    its control group, "" where there is none or it is not known.
    """

    pid: int
    start_time: int
    command: str
    program: str
    unit: str
    container: str


@dataclass(frozen=True)
class UnreadProcess:
    """A process that could not be looked at, and why."""

    pid: int
    command: str
    why: Cause
