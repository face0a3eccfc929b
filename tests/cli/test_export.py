"""`suture export`, on a process with a hole."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.command import suture
from tests.process.conftest import Running, gcc, make_patch, start

__all__ = ["start"]

LIBRARY = "int answer(int x) { return x * 3 + 1; }"
PROGRAM = "#include <stdio.h>\nint answer(int x); int main(void) { int c; while ((c = getchar()) > 0) answer(c); }"


@pytest.fixture
def running(start: Callable[..., Running], tmp_path: Path) -> Running:
    """A process with the hole; the folder `patches` beside its library has the patch."""
    library = gcc(tmp_path / "libanswer.so", LIBRARY, "-shared", "-fPIC")
    program = gcc(tmp_path / "asks", PROGRAM, str(library), f"-Wl,-rpath,{tmp_path}")
    make_patch(tmp_path / "patches", library, LIBRARY.replace("+ 1", "+ 2"), {"answer": ["answer"]}, name="answer")
    return start(program)


@pytest.fixture
def patches(running: Running, tmp_path: Path) -> Path:
    return tmp_path / "patches"


def export(*words: str | Path) -> tuple[int, str]:
    done = suture("export", *words)
    return done.returncode, done.stdout


def test_a_hole_is_open_in_every_format_until_it_is_patched(running: Running, patches: Path, tmp_path: Path) -> None:
    scan = tmp_path / "scan.json"

    def look() -> tuple[str, int, str, bool]:
        done = suture("scan", "--json", "--patches", patches)
        found = json.loads(done.stdout)
        # of this machine the process alone: others may be open too, or may not be read
        (own,) = [p for p in found["processes"] if p["pid"] == running.pid]
        holes = [{"cve": h["cve"], "state": h["state"], "processes": {h["state"]: 1}} for h in own["holes"]]
        found |= {"processes": [own], "holes": holes, "unread": []}
        scan.write_text(json.dumps(found))
        vex = json.loads(export("openvex", "--scan", scan)[1])
        code, line = export("nagios", "--scan", scan)
        restarts = json.loads(export("restarts", "--scan", scan, "--json")[1])["processes"]
        listed = any(row["pid"] == running.pid for row in restarts)
        return vex["statements"][0]["status"], code, line, listed

    status, code, line, listed = look()
    assert (status, code, listed) == ("affected", 2, True) and "CVE-2099-0001" in line
    suture("apply", patches / "answer.suture.o", str(running.pid), check=True)
    status, code, line, listed = look()
    assert (status, code, listed) == ("fixed", 1, False) and "lost at the next start" in line


def test_metrics_are_written_whole_beside_nothing_else(running: Running, patches: Path, tmp_path: Path) -> None:
    out = tmp_path / "metrics" / "suture.prom"
    code, said = export("prometheus", "--patches", patches, "--output", out, "--json")
    document = json.loads(said)
    assert code in (0, 5) and document["kind"] == "export" and document["path"] == str(out)
    assert [p.name for p in out.parent.iterdir()] == ["suture.prom"] and out.stat().st_mode & 0o777 == 0o644
    text = out.read_text()
    assert re.search(r'^suture_hole_processes\{cve="CVE-2099-0001",state="open"\} [1-9]', text, re.M)


def test_the_monitoring_hears_unknown_and_not_an_exit_code_of_ours(tmp_path: Path) -> None:
    code, said = export("nagios", "--patches", tmp_path / "none")
    assert code == 3 and said.startswith("SUTURE UNKNOWN - ")


@pytest.mark.parametrize(
    ("text", "code", "word"),
    [("{", 2, "not JSON"), ('{"format": 1, "kind": "error"}', 2, ""), (None, 10, "No such file")],
)
def test_a_file_that_is_no_report_is_refused(text: str | None, code: int, word: str, tmp_path: Path) -> None:
    if text is not None:
        (tmp_path / "scan.json").write_text(text)
    done = suture("export", "oval", "--scan", tmp_path / "scan.json")
    assert done.returncode == code and word in done.stderr and "suture scan --json" in done.stderr


def test_a_programs_exit_codes_are_told_in_its_help() -> None:
    said = export("nagios", "--help")[1]
    assert "3  UNKNOWN" in said and "another program failed" not in said
