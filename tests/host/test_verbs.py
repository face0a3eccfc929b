"""The verbs on a real process, through the interface alone; and every --json of theirs against the schema."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path
from typing import Any

import jsonschema

from suture.error import ExitCode
from suture.host.recipient import ApplyOptions, named, of_file
from suture.host.scan import scan_host
from suture.host.status import status_of_processes
from suture.patch.file import PatchFile
from suture.report.change import EventKind
from suture.report.encoding import decode, encode
from suture.report.hole import HoleState
from suture.report.patch import PatchState
from suture.report.reason import Reason
from suture.report.schema import schema
from suture.report.standing import Memory
from tests.command import suture
from tests.process.conftest import Start, make_patch

SCHEMA = jsonschema.Draft202012Validator(schema(strict=True))
OPTIONS = ApplyOptions()


def test_a_patch_goes_in_is_seen_and_comes_out(start: Start, program: Path, patch: PatchFile) -> None:
    target = start(program)
    target.ask("2")
    path = Path(patch.object.name)
    live = of_file(path, owned=True)
    plan = live.plan([target.pid], OPTIONS)
    assert plan.steps and all(s.pid == target.pid for s in plan.steps) and target.ask("2") == "7 107 9"

    applied = live.apply([target.pid], OPTIONS)
    (process,) = applied.processes
    assert process.is_whole and process.changed and process.pauses_us and process.program == str(program)
    assert (applied.exit_code, applied.file.id, applied.patch) == (0, patch.id, patch.id)
    assert [(e.kind, e.pid) for e in applied.events] == [(EventKind.APPLIED, target.pid)]
    assert [e.kind for e in live.apply([target.pid], OPTIONS).events] == [EventKind.APPLIED_ALREADY]

    (carrying,) = status_of_processes([target.pid]).processes
    assert [(p.id, p.state) for p in carrying.patches] == [(patch.id, PatchState.APPLIED)]
    found = next(p for p in scan_host(path.parent).processes if p.pid == target.pid)
    assert found.binaries[0].memory is Memory.FIXED and found.start_time == process.start_time
    assert {h.state for h in found.holes} <= {HoleState.LOST_AT_NEXT_START}
    assert Reason.IN_FORCE in {c.reason for c in found.binaries[0].causes}

    reverted = named(patch.id).revert([], "", OPTIONS)
    assert [e.kind for e in reverted.events if e.pid == target.pid] == [EventKind.REVERTED]
    assert reverted.processes[0].wanted is PatchState.REVERTED and target.ask("2") == "7 107 9"
    again = named(patch.id).revert([target.pid], "", OPTIONS)
    assert [e.kind for e in again.events] == [EventKind.REVERTED_ALREADY]


def test_holes_are_open_before_and_closed_after(start: Start, program: Path, patch: PatchFile) -> None:
    target = start(program)
    target.ask("2")
    folder = Path(patch.object.name).parent

    def states() -> set[HoleState]:
        found = scan_host(folder)
        process = next(p for p in found.processes if p.pid == target.pid)
        assert process.state in {h.state for h in process.holes}
        assert found.state in {h.state for h in found.holes}
        return {h.state for h in process.holes}

    assert patch.manifest.named_cves
    assert states() == {HoleState.OPEN}
    of_file(Path(patch.object.name)).apply([target.pid], OPTIONS)
    assert states() == {HoleState.LOST_AT_NEXT_START}
    assert target.pid not in {p.pid for p in scan_host(folder, only_open=True).processes}


def test_what_fails_in_one_of_several_is_told_with_its_reason(start: Start, program: Path, patch: PatchFile) -> None:
    with subprocess.Popen(["sleep", "60"]) as other:
        try:
            target = start(program)
            target.ask("2")
            counted: list[tuple[int, int]] = []
            found = of_file(Path(patch.object.name)).apply(
                [target.pid, other.pid], OPTIONS, lambda *n: counted.append(n)
            )
        finally:
            other.kill()
    assert [p.pid for p in found.processes] == [target.pid] and counted[-1] == (2, 2)
    (failed,) = found.failed
    assert (failed.pid, failed.reason, failed.exit_code) == (other.pid, Reason.BUILD_DIFFERS, ExitCode.WRONG_TARGET)
    assert found.exit_code == ExitCode.PARTIAL
    assert [e.kind for e in found.events] == [EventKind.APPLIED, EventKind.FAILED]
    assert found.events[1].causes[0].reason is Reason.BUILD_DIFFERS


def printed(*words: object) -> dict[str, Any]:
    """One document, as the command prints it; it fits the schema and is read back as what it was."""
    done = suture(*map(str, words), "--json")
    found: dict[str, Any] = json.loads(done.stdout)
    SCHEMA.validate(found)
    assert encode(decode(found)) == found and found["exit_code"] == done.returncode and not done.stderr
    return found


def test_every_document_of_the_command_fits_the_schema(start: Start, program: Path, patch: PatchFile) -> None:
    target = start(program)
    target.ask("2")
    path = patch.object.name
    assert printed("apply", path, target.pid, "--dry-run")["steps"]
    assert printed("apply", path)["scan_seconds"] > 0
    assert printed("status", target.pid)["processes"][0]["patches"][0]["id"] == patch.id
    assert printed("status")["processes"]
    assert printed("status", "--kernel")["kernel"] is not None
    assert printed("scan", "--patches", Path(path).parent)["patches"][0]["id"] == patch.id
    assert printed("scan")["patches"] == []
    assert printed("revert", patch.id)["patch"] == patch.id
    assert printed("revert", "f" * 16)["exit_code"] == ExitCode.NO_PROCESS
    assert printed("uname")["host"]["kernel"]["release"]
    assert printed("apply", path + "x")["reason"] == Reason.NO_PATCH_FILE
    assert printed("apply", path, 2**22 - 2)["reason"] == Reason.ENDED
    assert printed("nonsense")["reason"] == Reason.USAGE
    assert printed("record", "--tree", "/absent", "true")["reason"] == Reason.MISSING


def test_a_folder_of_one_fix_goes_in_and_out_in_one_stop(
    start: Start, program: Path, library: Path, tmp_path: Path
) -> None:
    one, two = (
        make_patch(tmp_path, library, text, {"g": [function]}, name=name)
        for name, function, text in (
            ("one", "answer", "int answer(int x) { return 1; }"),
            ("two", "third", "int third(int x) { return 2; }"),
        )
    )
    target = start(program)
    assert target.ask("2") == "7 107 9"
    plan = printed("apply", tmp_path, target.pid, "--dry-run")
    assert len([s for s in plan["steps"] if s["what"].startswith("switch ")]) == 1 and len(plan["companions"]) == 1
    assert target.ask("2") == "7 107 9"
    found = printed("apply", one.object.name, two.object.name, target.pid)
    assert target.ask("2") == "1 101 2"
    first, second = found["processes"]
    assert (first["patch"], first["companions"], len(first["pauses_us"])) == (one.id, [two.id], 1)
    assert (second["patch"], second["companions"], second["pauses_us"]) == (two.id, [one.id], [])
    assert [(e["kind"], e["patch"]) for e in found["events"]] == [("patch.applied", one.id), ("patch.applied", two.id)]
    carried = printed("status", target.pid)["processes"][0]["patches"]
    assert {p["id"]: p["companions"] for p in carried} == {one.id: [two.id], two.id: [one.id]}
    (binary,) = [
        b
        for p in printed("scan", "--patches", tmp_path)["processes"]
        if p["pid"] == target.pid
        for b in p["binaries"]
        if b["file"] == str(library)
    ]
    assert binary["memory"] == Memory.FIXED.value and sorted(binary["patches"]) == sorted([one.id, two.id])
    assert f"one is applied, together with {two.id}" in {c["text"] for c in binary["causes"]}
    back = printed("revert", two.id)
    assert {p["patch"] for p in back["processes"] if p["pid"] == target.pid} == {one.id, two.id}
    assert target.ask("2") == "7 107 9"
    everywhere = printed("apply", tmp_path)
    assert {p["patch"] for p in everywhere["processes"] if p["pid"] == target.pid} == {one.id, two.id}
    assert target.ask("2") == "1 101 2"
    assert printed("apply", one.object.name, two.object.name, 2**22 + 5)["reason"] == Reason.ENDED
    assert printed("apply", one.object.name, target.pid, two.object.name)["reason"] == Reason.USAGE
