"""Processes that could not be looked at, in words."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from suture.report.process import UnreadProcess

_NAMED = 8


def unread_lines(unread: Sequence[UnreadProcess]) -> Iterator[str]:
    """A line that counts them and tells why, none when there are none."""
    if unread:
        # most reasons begin with the pid, for use where it is not told beside them
        rows = [f"{u.pid} ({u.command}): {u.why.text.removeprefix(f'pid {u.pid}: ')}" for u in unread[:_NAMED]]
        more = f"; and {len(unread) - _NAMED} more" if len(unread) > _NAMED else ""
        noun = "process" if len(unread) == 1 else "processes"
        yield f"{len(unread)} {noun} could not be looked at: {'; '.join(rows)}{more}"
