"""What crosses between the privileged part and the child that holds starts."""

from __future__ import annotations

import socket

import pytest

from suture.agent.hold import GuardedBuild, HoldNews, HoldOrder, LineOfJson, WatchedFile, read_line
from suture.agent.policy import Chosen
from suture.report.encoding import NoDocument

ORDER = HoldOrder(
    3,
    (GuardedBuild("ab", ("0123456789abcdef.suture.o",), ("0123456789abcdef",)),),
    (WatchedFile("/proc/7/map_files/1-2", "/usr/lib/libx.so", "ab", "fd:00 7"),),
    Chosen(paths=("/opt/*",)),
    Chosen(),
)


def test_an_order_comes_whole_though_it_is_sent_in_pieces() -> None:
    ours, theirs = socket.socketpair()
    with ours, theirs:
        lines = LineOfJson(theirs)
        sent = lines.put(ORDER) * 2
        for piece in (sent[:5], sent[5:300], sent[300:-1]):
            ours.sendall(piece)
        (first,) = lines.come()
        assert read_line(HoldOrder, first) == ORDER and lines.come() == []
        ours.sendall(b"\n")
        assert [read_line(HoldOrder, line) for line in lines.come()] == [ORDER]
        ours.close()
        with pytest.raises(EOFError):
            lines.come()


def test_what_is_no_news_is_not_taken_for_some() -> None:
    with pytest.raises(NoDocument):
        read_line(HoldNews, b'{"number": "x"}')
