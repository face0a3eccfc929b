"""The line for monitoring, and its status."""

from __future__ import annotations

import pytest

from suture.export.nagios import PluginStatus, failed, line
from suture.export.picture import Picture
from suture.report.reason import Cause, Reason
from tests.export.conftest import FIXED, LOST, OPEN, RESTART, UNKNOWN, agent_of, offer, scan_of

PROBLEM = Cause(Reason.FEED_EXPIRED, "what the feed said | has expired", "")


@pytest.mark.parametrize(
    ("picture", "status", "said"),
    [
        (Picture(scan_of(FIXED), None), PluginStatus.OK, "no hole is open; 1 closed"),
        (Picture(scan_of(OPEN, FIXED), None), PluginStatus.CRITICAL, "1 hole open: CVE-2099-0001"),
        (Picture(scan_of(RESTART), None), PluginStatus.CRITICAL, "1 hole open: CVE-2099-0002"),
        (Picture(scan_of(UNKNOWN), None), PluginStatus.WARNING, "1 not known"),
        (Picture(scan_of(LOST), None), PluginStatus.WARNING, "1 lost at the next start"),
        (Picture(scan_of(FIXED, unread=2), None), PluginStatus.WARNING, "2 processes not read"),
        (Picture(scan_of(), agent_of(failed=1)), PluginStatus.WARNING, "1 patch refused by processes"),
        (Picture(scan_of(), agent_of(offer(9, "zz", "x"))), PluginStatus.WARNING, "1 patch not in yet"),
        (Picture(scan_of(), agent_of(problems=(PROBLEM,))), PluginStatus.WARNING, "what the feed said / has expired"),
        (Picture(scan_of(), agent_of()), PluginStatus.OK, "no hole is open; 0 closed"),
        (Picture(scan_of(patches=()), None), PluginStatus.UNKNOWN, "no patch is known here"),
    ],
)
def test_the_worst_decides(picture: Picture, status: PluginStatus, said: str) -> None:
    found = line(picture)
    assert found.status is status and said in found.text
    assert found.text.startswith(f"SUTURE {status.name} - ") and "\n" not in found.text


def test_numbers_for_graphs_stand_after_the_only_bar(every: Picture) -> None:
    text, _, numbers = line(every).text.partition(" | ")
    assert "|" not in text and dict(n.split("=") for n in numbers.split()) == {
        "open": "3", "unknown": "1", "closed": "2", "unread": "0",
    }  # fmt: skip


def test_what_failed_is_one_line() -> None:
    assert failed("a|b\nc").text == "SUTURE UNKNOWN - a/b c"
