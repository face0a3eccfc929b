"""One row: make the live patch of a fix, and ask the hole before it, with it and after it, in one process."""

from __future__ import annotations

import json
import sys
import tempfile
import time
from dataclasses import dataclass, replace
from enum import Enum
from pathlib import Path
from typing import Any

from fix import Fix
from subject import Files, NoAnswer, Subject, code_at, compile_trigger, fetch, jumps_into, mappings

from suture.command import run
from suture.delta.ledger import Fate
from suture.error import ExitCode, SutureError
from suture.patch.file import PatchFile, read_patch

_ALL_CODES = frozenset(range(128))


class State(Enum):
    """What came of a row."""

    # the outcome of the trigger changed and changed back, in one process, and nothing of the fix is missing
    CLOSED = "closed"
    PARTLY = "partly"  # so far as its patches go, but the ledger misses a part of the fix: no CVE counts as closed
    REPLACED = "replaced"  # no trigger; the code was replaced and put back, as the disassembly says
    REFUSED = "refused"  # Suture says why not
    FAILED = "failed"  # none of these: a defect of Suture or of the trigger


@dataclass(frozen=True)
class Row:
    """A fix and what came of it, by the ledgers of its patches: `closed` are the CVEs that these claim, `missing` what
    they miss.

    `make_seconds` is of a make with the source tree prepared; `pause` in microseconds.
    """

    fix: Fix
    state: State
    binaries: tuple[str, ...] = ()
    functions: tuple[str, ...] = ()
    before: str = ""
    after: str = ""
    reverted: str = ""
    make_seconds: float | None = None
    pause: float | None = None
    note: str = ""
    closed: tuple[str, ...] = ()
    missing: tuple[str, ...] = ()


class Declined(Exception):
    """A command of Suture ended with an error: its exit code, what it says, and the remedy."""

    def __init__(self, code: int, what: str, remedy: str) -> None:
        super().__init__(what)
        self.code = code
        self.what = what
        self.remedy = remedy


def suture(*words: str) -> dict[str, Any]:
    """Run a verb with --json. Raises `Declined` when it answers with an error."""
    out = run([sys.executable, "-m", "suture.cli", *words, "--json"], accept=_ALL_CODES)
    try:
        answer = json.loads(out)
    except ValueError as problem:
        raise Declined(int(ExitCode.FAILED), f"suture {words[0]} printed no JSON", "") from problem
    if isinstance(answer, dict) and "error" in answer and "remedy" in answer:
        raise Declined(int(answer.get("exit_code", 1)), str(answer["error"]), str(answer["remedy"]))
    return {"processes": answer} if isinstance(answer, list) else dict(answer)


class Bench:
    """Runs rows one after another. Files are fetched and source trees prepared once; equal makes are made once."""

    def __init__(self) -> None:
        self._files: dict[tuple[str, str], Files] = {}
        self._prepared: set[str] = set()
        self._made: dict[tuple[str, ...], tuple[dict[str, Any], float]] = {}
        self._folder = tempfile.TemporaryDirectory(prefix="suture-coverage-")

    @property
    def folder(self) -> Path:
        """Where triggers and patches lie until the bench is closed."""
        return Path(self._folder.name)

    def close(self) -> None:
        """Remove the triggers and patches."""
        self._folder.cleanup()

    def files(self, fix: Fix, version: str) -> Files:
        """The libraries of a version, fetched once."""
        key = (fix.package.source, version)
        if key not in self._files:
            self._files[key] = fetch(fix.package, version)
        return self._files[key]

    def stand_in(self, fix: Fix) -> Row:
        """The trigger alone, without Suture: on the shipped files, then on those of the fixed version."""
        assert fix.trigger is not None
        program = self._program(fix)
        outcomes = []
        for version in (fix.package.version, fix.package.fixed):
            with Subject(program, self.files(fix, version)) as process:
                outcomes.append(process.ask())
        agrees = outcomes == [fix.trigger.open, fix.trigger.closed]
        return Row(fix, State.CLOSED if agrees else State.FAILED, before=outcomes[0], after=outcomes[1])

    def row(self, fix: Fix) -> Row:
        """The whole way for one fix."""
        try:
            made, seconds = self._make(fix)
        except Declined as declined:
            return _declined(Row(fix, State.REFUSED), declined, "make")
        patches = [read_patch(Path(entry["path"])) for entry in made["patches"]]
        row = Row(
            fix,
            State.FAILED,
            tuple(p.manifest.target.file for p in patches),
            tuple(f.name for p in patches for f in p.manifest.functions),
            make_seconds=seconds,
            note=_refusals(made),
            closed=_closed(patches),
            missing=_missing(made, patches),
        )
        if not patches:
            return replace(row, state=State.REFUSED)
        try:
            with Subject(self._program(fix), self.files(fix, fix.package.version)) as process:
                return self._try(row, process, made, patches)
        except NoAnswer as silence:
            return replace(row, note=_joined(row.note, str(silence)))
        except SutureError as error:
            return replace(row, note=_joined(row.note, error.what))

    def _program(self, fix: Fix) -> Path:
        return compile_trigger(fix.program, self.files(fix, fix.package.version), self.folder)

    def _make(self, fix: Fix) -> tuple[dict[str, Any], float]:
        """Make the patches and return the command's answer and its wall seconds, once the tree was prepared."""
        words = fix.make_arguments
        if words in self._made:
            return self._made[words]
        if fix.package.source not in self._prepared:
            suture("make", *words, f"--output={tempfile.mkdtemp(dir=self.folder)}")
            self._prepared.add(fix.package.source)
        begin = time.monotonic()
        made = suture("make", *words, f"--output={tempfile.mkdtemp(dir=self.folder)}")
        self._made[words] = made, time.monotonic() - begin
        return self._made[words]

    def _try(self, row: Row, process: Subject, made: dict[str, Any], patches: list[PatchFile]) -> Row:
        paths = {p.id: entry["path"] for p, entry in zip(patches, made["patches"], strict=True)}
        row = replace(row, before=process.ask())
        applied = [p for p in patches if _library(process.pid, p) is not None]
        absent = [p.manifest.target.file for p in patches if p not in applied]
        if not applied:
            return replace(row, note=_joined(row.note, f"not in the process: {', '.join(absent)}"))
        before = [_entries(process.pid, p) for p in applied]
        pauses = []
        try:
            for patch in applied:
                half = () if patch.manifest.is_complete else ("--accept-partial",)
                pauses.append(_pause(suture("apply", paths[patch.id], str(process.pid), *half)))
        except Declined as declined:
            return _declined(row, declined, "apply")
        replaced = all(_is_replaced(process.pid, p) for p in applied)
        row = replace(row, after=process.ask(), pause=max((p for p in pauses if p is not None), default=None))
        try:
            for patch in reversed(applied):
                suture("revert", patch.id, str(process.pid))
        except Declined as declined:
            return _declined(row, declined, "revert")
        restored = [_entries(process.pid, p) for p in applied] == before
        row = replace(row, reverted=process.ask())
        return _judged(row, replaced, restored)


def _judged(row: Row, replaced: bool, restored: bool) -> Row:
    """The state of a row that went the whole way."""
    trigger = row.fix.trigger
    complaints = []
    if not replaced:
        complaints.append("an entry does not jump into the patch")
    if not restored:
        complaints.append("code was not put back as it was")
    if trigger and (row.before, row.after, row.reverted) != (trigger.open, trigger.closed, trigger.open):
        complaints.append(f"expected: {trigger.open}; {trigger.closed}; {trigger.open}")
    if complaints:
        return replace(row, note=_joined(row.note, "; ".join(complaints)))
    if row.missing:
        return replace(row, state=State.PARTLY)
    return replace(row, state=State.CLOSED if trigger else State.REPLACED)


def _closed(patches: list[PatchFile]) -> tuple[str, ...]:
    """CVEs that the patches close, one by itself or all together: a CVE with a part in another binary needs that one's
    patch too."""
    made = {Path(p.manifest.target.file).name: p.manifest for p in patches}
    found = {c for m in made.values() for c in m.cves}
    for manifest in made.values():
        for cve, others in manifest.shared_cves.items():
            if all(o in made and cve in {*made[o].cves, *made[o].shared_cves} for o in others):
                found.add(cve)
    return tuple(
        sorted(c for c in found if all(c not in m.named_cves or c in {*m.cves, *m.shared_cves} for m in made.values()))
    )


def _missing(made: dict[str, Any], patches: list[PatchFile]) -> tuple[str, ...]:
    """Files of which lines are missing in some binary, and what else was refused."""
    found = {
        f.path
        for p in patches
        for fix in p.manifest.fixes
        for f in fix.ledger.files
        if any(a.fate is Fate.MISSING for a in f.accounts)
    }
    return tuple(sorted(found | {r["file"] for r in made.get("refused", ())}))


def _library(pid: int, patch: PatchFile) -> str | None:
    """The path of the patch's target in the process, by file name (the build-id is checked by apply)."""
    name = Path(patch.manifest.target.file).name
    for mapping in mappings(pid):
        path = Path(mapping.name)
        if path.name == name or (path.name.startswith(f"{name}.") and mapping.name.startswith("/")):
            return mapping.name
    return None


def _entries(pid: int, patch: PatchFile) -> list[bytes]:
    """The first bytes of each function that the patch replaces."""
    library = _library(pid, patch)
    assert library is not None
    return [code_at(pid, library, f.address, min(f.size, 16)) for f in patch.manifest.functions]


def _is_replaced(pid: int, patch: PatchFile) -> bool:
    library = _library(pid, patch)
    assert library is not None
    return all(jumps_into(pid, library, f.address + f.entry, patch.id) for f in patch.manifest.functions)


def _declined(row: Row, declined: Declined, verb: str) -> Row:
    """A refusal is a result; an unforeseen failure is a defect."""
    state = State.FAILED if declined.code in (ExitCode.FAILED, ExitCode.USAGE) else State.REFUSED
    return replace(row, state=state, note=_joined(row.note, f"{verb}: {declined.what}"))


def _pause(answer: dict[str, Any]) -> float | None:
    """Microseconds that the process was stopped, the longest of its stops, from the answer of apply."""
    return max((float(us) for process in answer.get("processes", ()) for us in process["pauses_us"]), default=None)


def _refusals(made: dict[str, Any]) -> str:
    return "; ".join(f"{r['function'] or r['file']}: {r['reason']}" for r in made.get("refused", ()))


def _joined(*notes: str) -> str:
    return "; ".join(note for note in notes if note)
