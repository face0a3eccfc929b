"""The units of systemd: right for systemd, hardened, and running the commands that there are."""

from __future__ import annotations

import re
import shutil
import subprocess
from pathlib import Path

import pytest

import suture
from suture.cli.main import build_parser

UNITS = sorted((Path(suture.__file__).parent / "agent/units").glob("*.service"))
MOST_EXPOSED = {
    "suture-agent.service": 1.9,
    "suture-agent-apply.service": 6.8,  # it may have no filter of systemd, see below
    "suture-attempts.service": 4.0,
    "suture-notify.service": 1.9,
}  # of 10, by systemd-analyze security


def settings(unit: Path) -> dict[str, str]:
    """The last value of each key."""
    return dict(re.findall(r"^(\w+)=(.*)$", unit.read_text(), re.M))


@pytest.mark.parametrize("unit", UNITS, ids=lambda u: u.name)
def test_systemd_understands_the_unit(unit: Path, tmp_path: Path) -> None:
    text = unit.read_text().replace("/usr/local/bin/suture", "/bin/true")  # which verify asks for
    for other in UNITS:
        (tmp_path / other.name).write_text(text if other == unit else other.read_text())
    done = subprocess.run(
        ["systemd-analyze", "verify", "--man=no", str(tmp_path / unit.name)],
        capture_output=True,
        text=True,
        check=False,
    )
    wrong = [line for line in done.stderr.splitlines() if unit.name in line]
    assert wrong == []


@pytest.mark.parametrize("unit", UNITS, ids=lambda u: u.name)
def test_the_unit_is_hardened(unit: Path) -> None:
    words = ["systemd-analyze", "security", "--offline=yes", "--no-pager", str(unit)]
    done = subprocess.run(words, capture_output=True, text=True, check=False)
    found = re.search(r"Overall exposure level for \S+: ([0-9.]+)", done.stdout)
    assert found and float(found[1]) <= MOST_EXPOSED[unit.name], done.stdout


@pytest.mark.parametrize("unit", UNITS, ids=lambda u: u.name)
def test_the_command_is_one(unit: Path) -> None:
    words = settings(unit)["ExecStart"].split()
    assert words[:2] == ["/usr/local/bin/suture", "agent"]
    parser, _ = build_parser("agent")
    assert parser.parse_args(words[1:]).action == words[2]


def test_the_part_that_runs_as_root_has_no_network_and_the_other_no_capability() -> None:
    assert shutil.which("systemd-analyze"), "apt-get install systemd"
    by_name = {u.name: settings(u) for u in UNITS}
    assert by_name["suture-agent-apply.service"]["PrivateNetwork"] == "yes"
    assert by_name["suture-attempts.service"]["PrivateNetwork"] == "yes"
    assert by_name["suture-agent.service"]["CapabilityBoundingSet"] == ""
    assert by_name["suture-notify.service"]["CapabilityBoundingSet"] == ""


# What systemd makes a seccomp filter of (systemd.exec(5), "a system call filter is installed")
FILTERS = (
    "SystemCallFilter", "SystemCallArchitectures", "SystemCallLog", "RestrictAddressFamilies", "RestrictNamespaces",
    "RestrictRealtime", "RestrictSUIDSGID", "MemoryDenyWriteExecute", "LockPersonality", "PrivateDevices",
    "ProtectClock", "ProtectHostname", "ProtectKernelTunables", "ProtectKernelModules", "ProtectKernelLogs",
)  # fmt: skip


def test_what_traces_gets_no_filter_of_systemd() -> None:
    """With one it could patch no service that has one too: tests/agent/test_whole.py."""
    found = settings(next(u for u in UNITS if u.name == "suture-agent-apply.service"))
    assert {name for name in FILTERS if found.get(name, "no") != "no"} == set()
    assert found["NoNewPrivileges"] == "yes"
