"""What documents say of themselves in words."""

from __future__ import annotations

from dataclasses import replace

import pytest

from suture.report.attempt import TrippedWire
from suture.report.document import AgentReport, AttemptReport
from suture.report.host import Host, Kernel
from suture.report.process import Process

TIME = "2026-11-28T07:00:00.000Z"
HOST = Host("id", "web1", "boot", "x86_64", Kernel("6.1.0-1-amd64", "6.1.99-1", "6.1.99-1", ""))
AGENT = AgentReport(TIME, 0, HOST, "https://feed.example", "stable", 3, TIME, TIME, TIME, (), (), (), (), (), ())
PROCESS = Process(812, 99, "nginx", "/usr/sbin/nginx", "nginx.service", "")
WIRE = TrippedWire("p1", "nginx", "nginx", "1.22", "src/a.c", 77, "parse", "n > 9", ("CVE-2026-1", "CVE-2026-2"))
ATTEMPT = AttemptReport(TIME, 0, HOST, PROCESS, "www-data", 33, WIRE, 1, 5, 1)
BEHIND = "nginx src/a.c:77 parse: n > 9"


def test_an_attempt_is_told_in_one_line_for_people_and_journals() -> None:
    told = "1 attempt: CVE-2026-1, CVE-2026-2 pid 812 /usr/sbin/nginx user www-data unit nginx.service " + BEHIND
    assert ATTEMPT.text == told
    assert ATTEMPT.line == f"{TIME} {told}"


@pytest.mark.parametrize(
    ("change", "begin"),
    [
        ({"count": 2}, "2 attempts: CVE-2026-1, CVE-2026-2 pid 812 /usr/sbin/nginx"),
        ({"processes": 2}, "1 attempt: CVE-2026-1, CVE-2026-2 pid 812 and 1 more /usr/sbin/nginx"),
        ({"processes": 4, "count": 9}, "9 attempts: CVE-2026-1, CVE-2026-2 pid 812 and 3 more /usr/sbin/nginx"),
        ({"wire": replace(WIRE, cves=())}, "1 attempt: no CVE pid 812"),
        ({"process": replace(PROCESS, program="")}, "1 attempt: CVE-2026-1, CVE-2026-2 pid 812 nginx user www-data"),
        ({"user": ""}, "1 attempt: CVE-2026-1, CVE-2026-2 pid 812 /usr/sbin/nginx user 33 unit nginx.service nginx"),
        (
            {"process": replace(PROCESS, unit="", container="c0ffee")},
            "1 attempt: CVE-2026-1, CVE-2026-2 pid 812 /usr/sbin/nginx user www-data container c0ffee nginx",
        ),
    ],
    ids=str,
)
def test_how_often_by_whom_and_where_is_told_as_far_as_it_is_known(change: dict[str, object], begin: str) -> None:
    assert replace(ATTEMPT, **change).text.startswith(begin)  # type: ignore[arg-type]
    assert replace(ATTEMPT, **change).text.endswith(BEHIND)  # type: ignore[arg-type]
