"""What an administrator declares mitigated: read strictly, and seen by a scan of a real process."""

from __future__ import annotations

from datetime import date, datetime, timedelta
from pathlib import Path

import pytest

from suture.host.mitigation import BadMitigation, load
from suture.host.scan import scan_host
from suture.patch.file import PatchFile
from suture.report.hole import HoleState
from suture.report.mitigation import Mitigation
from suture.report.reason import Reason
from suture.report.standing import Memory
from tests.process.conftest import Start

ROW = '[[mitigation]]\ncve = "CVE-2099-0001"\nreason = "port 80 is closed"\nuntil = 2026-12-31\n'


def written(folder: Path, text: str) -> Path:
    path = folder / "mitigations.toml"
    path.write_text(text)
    return path


def test_tables_are_read_whatever_else_stands_in_the_file(tmp_path: Path) -> None:
    assert load(written(tmp_path, '[feed]\nurl = "https://f/"\n' + ROW)) == (
        Mitigation("CVE-2099-0001", "port 80 is closed", date(2026, 12, 31)),
    )
    assert load(written(tmp_path, "[feed]\n")) == ()


@pytest.mark.parametrize(
    ("text", "says"),
    [
        (ROW + ROW, "mitigation 2: cve: CVE-2099-0001 is declared already"),
        (ROW.replace("CVE-2099-0001", "cve-2099-0001"), "mitigation 1: cve: is no number"),
        (ROW.replace("CVE-2099-0001", "CVE-2099-0001\\n"), "mitigation 1: cve: is no number"),
        (ROW.replace("port 80 is closed", " "), "mitigation 1: reason: is no text"),
        (ROW.replace("2026-12-31", '"2026-12-31"'), "mitigation 1: until: is no day"),
        (ROW.replace("2026-12-31", "2026-12-31T00:00:00Z"), "mitigation 1: until: is no day"),
        (ROW.replace("until = 2026-12-31\n", ""), "mitigation 1: until: is no day"),
        (ROW + "untill = 2026-12-31\n", "mitigation 1: untill is not known"),
        ("mitigation = 3", "is no list of tables"),
        ("[mitigation]\n", "is no list of tables"),
        ("[[mitigation]\n", "no TOML"),
    ],
)
def test_what_is_wrong_is_refused_with_its_place(tmp_path: Path, text: str, says: str) -> None:
    path = written(tmp_path, text)
    with pytest.raises(BadMitigation) as caught:
        load(path)
    assert says in caught.value.what and str(path) in caught.value.what and caught.value.remedy


def test_a_file_that_is_not_there_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(BadMitigation, match="No such file"):
        load(tmp_path / "none")


def test_a_scan_shows_the_hole_mitigated_until_the_day_is_over(start: Start, program: Path, patch: PatchFile) -> None:
    target = start(program)
    target.ask("2")
    today = datetime.now().astimezone().date()
    (cve,) = patch.manifest.named_cves

    def states(until: date) -> tuple[HoleState | None, Memory, set[Reason]]:
        found = scan_host(
            Path(patch.object.name).parent, only_open=True, mitigations=[Mitigation(cve, "nobody asks", until)]
        )
        process = next(p for p in found.processes if p.pid == target.pid)
        assert found.mitigations[0].in_force is (until >= today)
        return process.state, process.binaries[0].memory, {c.reason for c in process.binaries[0].causes}

    assert states(today + timedelta(days=1)) == (
        HoleState.MITIGATED, Memory.OPEN, {Reason.NOT_APPLIED, Reason.MITIGATED},
    )  # fmt: skip
    assert states(today - timedelta(days=1)) == (
        HoleState.OPEN, Memory.OPEN, {Reason.NOT_APPLIED, Reason.MITIGATION_ENDED},
    )  # fmt: skip
