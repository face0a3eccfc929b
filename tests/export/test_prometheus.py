"""Metrics: their grammar (tests/export/test_oval.py asks node_exporter), and the figures of the report."""

from __future__ import annotations

import re
from dataclasses import replace

from suture.export.picture import Picture
from suture.export.prometheus import metrics
from suture.report.scan import ScannedProcess
from tests.export.conftest import FIXED, LOST, agent_of, scan_of

SAMPLE = re.compile(r'([a-z_]+)(?:\{((?:[a-z]+="(?:[^"\\\n]|\\.)*",?)*)\})? (\S+)')


def samples(picture: Picture) -> dict[tuple[str, str], float]:
    """By name and labels."""
    found = {}
    for line in metrics(picture, "0").splitlines():
        match = SAMPLE.fullmatch(line)
        assert line.startswith("# ") or match, line
        if match:
            found[match[1], match[2] or ""] = float(match[3])
    return found


def test_the_figures_are_those_of_the_report(every: Picture) -> None:
    found = samples(every)
    assert found["suture_holes", 'state="open"'] == 2  # one of them by a patch that waits
    assert found["suture_holes", 'state="lost at the next start"'] == 1
    assert found["suture_hole_processes", 'cve="CVE-2099-0009",state="open"'] == 4
    assert found["suture_agent_refused_processes", 'patch="id1",file="libxml2.so.2"'] == 2
    assert found["suture_agent_patches_waiting", 'verdict="wait"'] == 1
    assert found["suture_restart_processes", ""] == 3
    assert found["suture_scan_timestamp_seconds", ""] - found["suture_feed_fetched_timestamp_seconds", ""] == 900


def test_patches_in_force_are_counted_by_process() -> None:
    found = samples(Picture(scan_of(FIXED, LOST), None))
    assert found["suture_patch_processes", 'patch="id1",file="/usr/lib/x86_64-linux-gnu/libssl.so.3"'] == 2


def test_an_agent_that_has_done_nothing_yet_has_times_of_zero_and_a_host_without_one_none() -> None:
    young = replace(agent_of(), version=0, fetched="", expires="", looked="")
    assert samples(Picture(scan_of(), young))["suture_feed_fetched_timestamp_seconds", ""] == 0
    assert not [name for name, _ in samples(Picture(scan_of(), None)) if name.startswith("suture_feed")]


def test_a_hostile_name_stays_inside_its_label() -> None:
    binary = replace(FIXED.binaries[0], file='/x"} 1\nsuture_up 1\\')
    hostile: ScannedProcess = replace(FIXED, binaries=(binary,))
    found = samples(Picture(scan_of(hostile), None))
    assert [labels for name, labels in found if name == "suture_patch_processes"] == [
        r'patch="id1",file="/x\"} 1\\nsuture_up 1\\"'
    ]


def test_every_metric_is_told_once_with_its_help(every: Picture) -> None:
    names = re.findall(r"^# TYPE (\S+) gauge$", metrics(every, "0"), re.M)
    assert len(names) == len(set(names)) == len(re.findall(r"^# HELP \S+ [A-Z0-9]", metrics(every, "0"), re.M))
