"""Which tests may run beside which: those of one group run one after the other, two groups may run side by side."""

from __future__ import annotations

from pathlib import PurePosixPath

ALONE = frozenset(
    {
        "agent",
        "cli",
        "fuzz",
        "host",
        "kernel",
        "live",
        "machine",
        "making/test_copies.py",
        "packaging",
        "process",
        "trial",
    }
)
"""Folders and files whose tests look at all processes, change what a machine has one of, or measure: one group
together."""


def group_of(nodeid: str) -> str:
    """The group of a test, by its name: that of `ALONE`, or its own file's."""
    path = PurePosixPath(nodeid.partition("::")[0])
    return "alone" if {path.parts[1], "/".join(path.parts[1:])} & ALONE else str(path)
